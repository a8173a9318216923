# SPDX-License-Identifier: Apache-2.0
"""Each operator alone: the C core equals the meaning in numpy, and the meaning equals the oracle."""
