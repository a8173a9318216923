# SPDX-License-Identifier: Apache-2.0
"""The operators: one file each with attributes, shape rule and numpy meaning."""

from .activation import Activation
from .add import Add, Sub
from .arg_max import ArgMax
from .concat import Concat, Pack, Rescale
from .conv2d import Conv2d
from .depthwise_conv2d import DepthwiseConv2d
from .fully_connected import FullyConnected
from . import logistic
from .lookup import Lookup
from .move import BroadcastTo, Move, Slice, Transpose
from .pad import Pad
from .pool import AveragePool2d, AverageRounding, MaxPool2d
from .quantize import Quantize
from .reshape import Reshape
from .resize import ResizeBilinear, ResizeMethod, ResizeNearest
from .softmax import Softmax
from .window import Window, same_padding

__all__ = [
    "Activation",
    "Add",
    "ArgMax",
    "AveragePool2d",
    "AverageRounding",
    "BroadcastTo",
    "Concat",
    "Conv2d",
    "DepthwiseConv2d",
    "FullyConnected",
    "Lookup",
    "MaxPool2d",
    "Move",
    "Pack",
    "Pad",
    "Quantize",
    "Rescale",
    "Reshape",
    "ResizeBilinear",
    "ResizeMethod",
    "ResizeNearest",
    "Slice",
    "Softmax",
    "Sub",
    "Transpose",
    "Window",
    "same_padding",
]
