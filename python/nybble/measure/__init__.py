# SPDX-License-Identifier: Apache-2.0
"""The truth about a model: what it costs, how long it takes, whether its bits are the right ones."""
