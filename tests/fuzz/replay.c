// SPDX-License-Identifier: Apache-2.0
// Runs files of the fuzzer's corpus without the fuzzer: replay FILE...
#include "invoke_any.h"
#include "platform/platform.h"

#include <stdio.h>

int main(int count, char **paths) {
    for (int i = 1; i < count; i++) {
        nyb_file file;
        if (!nyb_file_map(&file, paths[i])) {
            perror(paths[i]);
            return 1;
        }
        fprintf(stderr, "%s\n", paths[i]); // the last one named is the one that breaks
        invoke_any(file.data, file.size);
        nyb_file_unmap(&file);
    }
    return count > 1 ? 0 : 2;
}
