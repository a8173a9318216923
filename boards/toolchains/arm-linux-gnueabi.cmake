# SPDX-License-Identifier: Apache-2.0
# Debian and Ubuntu: gcc-arm-linux-gnueabi libc6-dev-armel-cross
# The armel toolchain, because the start files and the C library of Debian's armhf are ARMv7: a program linked
# with those stops with an illegal instruction on an ARMv6. Static programs run on any Raspberry Pi OS.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv6)
set(CMAKE_C_COMPILER arm-linux-gnueabi-gcc)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
