# SPDX-License-Identifier: Apache-2.0
"""The command nyb on this machine and on the boards, under QEMU with each board's CPU model."""
