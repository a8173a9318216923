# SPDX-License-Identifier: Apache-2.0
"""Cycles of the kernels' hot loops on the cores of the boards, by llvm-mca.

    python tools/hot_loops.py pi-3 pi-4 pi-5

For every function of the gemm and depthwise kernels for NEON: the innermost loop with the most products, as the
board's compiler made it. llvm-mca assumes loads from the first-level cache and a branch that is always predicted;
for the in-order Cortex-A53 it takes the instructions in the order in which they stand. LLVM has no model of
the Cortex-A76: the Neoverse N1 stands for it. Kernels for i8mm, which no board has, are those of the Pi 5's build on
a Neoverse N2.
"""

from __future__ import annotations

import argparse
import re
import shutil

from count_instructions import BUILD, build_program, command

CORES = {"pi-3": "cortex-a53", "pi-4": "cortex-a72", "pi-5": "neoverse-n1"}
KERNELS = ("gemm/gemm_neon", "gemm/gemm_dotprod", "gemm/gemm_i8mm", "depthwise/depthwise_neon")
TURNS = 100
#: The newest: LLVM 14 has no models of the Neoverse cores.
MCA = next((p for v in range(30, 14, -1) if (p := shutil.which(f"llvm-mca-{v}"))), "llvm-mca")
#: Products of one instruction, by its name and the lanes of its result.
PRODUCTS = {"smmla": 32, "sdot": 16, "8h": 8, "4s": 4}


def products(instruction: str) -> int:
    """How many products an instruction adds up."""
    found = re.match(r"(smmla|sdot|s?mull2?|smlal2?|mla|mul)\s+v\d+\.(\w+)", instruction)
    if found is None:
        return 0
    return PRODUCTS.get(found[1], PRODUCTS.get(found[2], 0))


def loops(body: str) -> list[list[str]]:
    """The innermost loops of a function's disassembly: from a backward jump's target to the jump."""
    lines = re.findall(r"^\s*([0-9a-f]+):\t(.*?)\s*(?://.*)?$", body, re.M)
    position = {int(address, 16): i for i, (address, _) in enumerate(lines)}
    spans = []
    for i, (_, instruction) in enumerate(lines):
        jump = re.match(r"(?:b\.?\w*|cbn?z|tbn?z)\b.*?([0-9a-f]+) <", instruction)
        start = position.get(int(jump[1], 16), i + 1) if jump else i + 1
        if start <= i:
            spans.append((start, i))
    inner = [a for a in spans if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    return [[text for _, text in lines[first : last + 1]] for first, last in inner]


def cycles(loop: list[str], core: str) -> float:
    """Cycles a turn by llvm-mca; jumps become a nop, since their targets are elsewhere."""
    text = "\n".join(re.sub(r"^(b|cb|tb)[.\w]*\s.*<.*$", "nop", line) for line in loop)
    source = BUILD / "loop.s"
    source.write_text(text + "\n")
    options = ["-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm", f"-iterations={TURNS}"]
    total = re.search(r"Total Cycles:\s+(\d+)", command(MCA, *options, source))
    assert total is not None
    return int(total[1]) / TURNS


def main() -> None:
    """Build, disassemble, print."""
    parser = argparse.ArgumentParser(description="Cycles of the kernels' hot loops by llvm-mca.")
    parser.add_argument("boards", nargs="+", choices=sorted(CORES))
    for board in parser.parse_args().boards:
        build_program(board)
        for kernel in KERNELS:
            if kernel.endswith(("dotprod", "i8mm")) and board != "pi-5":
                continue
            core = "neoverse-n2" if kernel.endswith("i8mm") else CORES[board]
            objects = BUILD / board / "CMakeFiles/nybble.dir/runtime/kernels"
            listing = command(
                "aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", objects / f"{kernel}.c.o"
            )
            for name, body in re.findall(r"^[0-9a-f]+ <(nyb_\w+)>:\n(.*?)(?:\n\n|\Z)", listing, re.S | re.M):
                hot = max(loops(body), key=lambda loop: sum(map(products, loop)), default=[])
                macs = sum(map(products, hot))
                if macs < 32:
                    continue
                spent = cycles(hot, core)
                stack = sum("[sp" in line for line in hot)
                print(
                    f"{core:12} {name:20} {len(hot):4} instructions {macs:5} MACs {macs / len(hot):6.2f} each"
                    f" {spent:7.1f} cycles {macs / spent:6.2f} MACs a cycle, {stack} on the stack"
                )


if __name__ == "__main__":
    main()
