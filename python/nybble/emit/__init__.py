# SPDX-License-Identifier: Apache-2.0
"""Write model files."""

from .nyb import emit_nyb

__all__ = ["emit_nyb"]
