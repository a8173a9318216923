# SPDX-License-Identifier: Apache-2.0
"""The operators: one file each with attributes, shape rule and numpy meaning."""

from .activation import Activation
from .add import Add, Sub
from .conv2d import Conv2d
from .depthwise_conv2d import DepthwiseConv2d
from .fully_connected import FullyConnected
from .lookup import Lookup
from .pool import AveragePool2d, AverageRounding, MaxPool2d
from .quantize import Quantize
from .reshape import Reshape
from .softmax import Softmax
from .window import Window, same_padding

__all__ = [
    "Activation",
    "Add",
    "AveragePool2d",
    "AverageRounding",
    "Conv2d",
    "DepthwiseConv2d",
    "FullyConnected",
    "Lookup",
    "MaxPool2d",
    "Quantize",
    "Reshape",
    "Softmax",
    "Sub",
    "Window",
    "same_padding",
]
