# SPDX-License-Identifier: Apache-2.0
"""The test oracle: public integer reference interpreters, and random models to ask them about.

`single_op` writes small .tflite models, `random_ops` draws them at random, `interpreters` runs any
.tflite in TFLite Micro or in LiteRT's reference kernels. Nothing here imports nybble, so that what
is tested and what it is tested against share no line of code.
"""

from importlib.util import find_spec

import pytest

_PACKAGES = {  # import name: name on the package index
    "flatbuffers": "flatbuffers",
    "tflite": "tflite",
    "ai_edge_litert": "ai-edge-litert",
    "tflite_micro": "tflite-micro",
}


def require_oracle() -> None:
    """Skips the calling test, fixture or module unless every package of the oracle is installed.

    `single_op.build` and everything that runs a model call it themselves: importing this package
    never fails, and tests that need no interpreter run without them.
    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        pytest.skip(
            f"the reference interpreters are not installed (missing: {', '.join(missing)}); "
            "pip install nybble[oracle]",
            allow_module_level=True,
        )
