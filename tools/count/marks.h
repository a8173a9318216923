// SPDX-License-Identifier: Apache-2.0
// How a program tells the plugin where a counted region begins and ends: a system call that every kernel
// refuses, so that the program also runs without the plugin.
#ifndef NYB_TOOLS_COUNT_MARKS_H
#define NYB_TOOLS_COUNT_MARKS_H

enum { COUNT_OPTION = 0x6e7962, COUNT_BEGIN = 1, COUNT_END = 2 }; // prctl(option, what, ...)

#endif
