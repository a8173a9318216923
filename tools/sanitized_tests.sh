#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the Python suite on an extension built with the address and undefined behaviour sanitizers (gcc).
# Arguments go to pytest. The reference interpreters run in processes of their own, without the sanitizers.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitized
# Compiled as by the preset asan, so that a compiler cache serves both.
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DNYB_PYTHON=ON -DNYB_TOOLS=OFF \
    -DNYB_SANITIZE=address,undefined -DNYB_WERROR=ON -DPython_EXECUTABLE="$(command -v python)" > /dev/null
cmake --build $build > /dev/null
rm -rf $build/package
mkdir -p $build/package
cp -r python/nybble $build/package/
rm -f $build/package/nybble/_core*.so
cp $build/_core*.so $build/package/nybble/
# Python itself frees little at exit: leaks are not looked for.
export ASAN_OPTIONS=detect_leaks=0
export PYTHONPATH=$build/package
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" python -m pytest -q "$@"
