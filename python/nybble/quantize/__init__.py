# SPDX-License-Identifier: Apache-2.0
"""From a graph of floats to a graph of integers: recipe, observers, parameters. Nothing here runs
the core.
"""

from .apply import quantize_graph
from .calibration import CALIBRATIONS
from .observe import observe
from .parameters import Range
from .recipe import Override, Recipe
from .samples import Data, arrays_of, read_samples

__all__ = [
    "CALIBRATIONS",
    "Data",
    "Override",
    "Range",
    "Recipe",
    "arrays_of",
    "observe",
    "quantize_graph",
    "read_samples",
]
