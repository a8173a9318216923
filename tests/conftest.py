# SPDX-License-Identifier: Apache-2.0
"""Properties are tested without a deadline: a machine that is busy with something else is no fault of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
