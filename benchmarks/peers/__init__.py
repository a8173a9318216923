# SPDX-License-Identifier: Apache-2.0
"""nybble beside other runtimes: the same networks, one core, one thread, in turns (docs/benchmarks.md)."""
