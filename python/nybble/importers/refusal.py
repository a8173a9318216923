# SPDX-License-Identifier: Apache-2.0
"""What a rule raises where it cannot take a node."""

from __future__ import annotations


class Refusal(Exception):
    """This node cannot be taken: (reason, remedy)."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
