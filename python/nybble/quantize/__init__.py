# SPDX-License-Identifier: Apache-2.0
"""From a graph of floats to a graph of integers: recipe, observers, parameters. Nothing here runs
the core.
"""

from .apply import quantize_graph
from .observe import Range, observe
from .recipe import Recipe
from .samples import Data, arrays_of, read_samples

__all__ = ["Data", "Range", "Recipe", "arrays_of", "observe", "quantize_graph", "read_samples"]
