# SPDX-License-Identifier: Apache-2.0
"""What a network loses when it is quantized, counted in right answers, beside other quantizers."""
