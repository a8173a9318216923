// SPDX-License-Identifier: Apache-2.0
// Hides AVX-512, VNNI and AMX from a process, so that a runtime takes the kernels that it would take on a CPU
// with AVX2 alone. Libraries ask the cpuid instruction, which user space cannot intercept, so each cpuid of a
// library becomes ud2 (as long) when the library is mapped, before any of its code runs, and the handler of
// SIGILL answers in its place. mask.py finds the instructions and compiles this file:
//
//   gcc -shared -fPIC -O2 -o cpuid_mask.so cpuid_mask.c
//   LD_AUDIT=./cpuid_mask.so NYBBLE_CPUID_SITES=sites python ...
//
// A line of the sites file: device, inode, address in the file's own address space; hexadecimal.
#define _GNU_SOURCE
#include <cpuid.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

enum { MOST_SITES = 1 << 16 };
static struct {
    uint64_t device, inode, address;
} sites[MOST_SITES];
static size_t site_count;

static const uint8_t CPUID[2] = {0x0f, 0xa2}, UD2[2] = {0x0f, 0x0b};

#define BIT(n) (1u << (n))

// Intel SDM volume 2A, table 3-8: the bits of leaf 7 (and 7.1) beyond AVX2.
static void mask(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
    if (leaf == 7 && subleaf == 0) {
        // AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL
        r[1] &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
        // AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
        r[2] &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
        // AVX512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX BF16, TILE, INT8
        r[3] &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(23) | BIT(22) | BIT(24) | BIT(25));
    } else if (leaf == 7 && subleaf == 1) {
        // AVX-VNNI, AVX512 BF16, AMX FP16, AVX-IFMA; AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX,
        // AVX-VNNI-INT16, AVX10
        r[0] &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));
        r[3] &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19));
    }
}

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (memcmp((const void *)g[REG_RIP], UD2, sizeof UD2) != 0) {
        signal(signal_number, SIG_DFL); // some other illegal instruction: let it happen
        return;
    }
    (void)info;
    uint32_t r[4];
    const uint32_t leaf = (uint32_t)g[REG_RAX], subleaf = (uint32_t)g[REG_RCX];
    __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
    mask(leaf, subleaf, r);
    g[REG_RAX] = r[0];
    g[REG_RBX] = r[1];
    g[REG_RCX] = r[2];
    g[REG_RDX] = r[3];
    g[REG_RIP] += sizeof CPUID;
}

unsigned la_version(unsigned version) {
    const char *path = getenv("NYBBLE_CPUID_SITES");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "cpuid_mask: no file of sites\n");
        _exit(1);
    }
    while (site_count < MOST_SITES && fscanf(file, "%lx %lx %lx", &sites[site_count].device,
                                             &sites[site_count].inode, &sites[site_count].address) == 3) {
        site_count++;
    }
    fclose(file);
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, NULL);
    return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    (void)space;
    (void)cookie;
    struct stat found;
    if (stat(map->l_name[0] ? map->l_name : "/proc/self/exe", &found) != 0) {
        return 0;
    }
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < site_count; i++) {
        if (sites[i].device != found.st_dev || sites[i].inode != found.st_ino) {
            continue;
        }
        uint8_t *at = (uint8_t *)(map->l_addr + sites[i].address);
        if (memcmp(at, CPUID, sizeof CPUID) != 0) {
            fprintf(stderr, "cpuid_mask: %s has no cpuid at %lx\n", map->l_name, sites[i].address);
            _exit(1);
        }
        // Two pages where the instruction lies across their border.
        const uintptr_t first = (uintptr_t)at & ~(page - 1);
        const size_t length = ((uintptr_t)at + sizeof UD2 > first + page ? 2 : 1) * page;
        mprotect((void *)first, length, PROT_READ | PROT_WRITE | PROT_EXEC);
        memcpy(at, UD2, sizeof UD2);
        mprotect((void *)first, length, PROT_READ | PROT_EXEC);
    }
    return 0;
}
