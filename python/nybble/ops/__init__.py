# SPDX-License-Identifier: Apache-2.0
"""The operators: one file each with attributes, shape rule and numpy meaning."""

from .activation import Activation
from .add import Add, Sub
from .affine import Affine
from .arg_max import ArgMax
from .concat import Concat, Pack, Rescale
from .conv2d import Conv2d
from .depthwise_conv2d import DepthwiseConv2d
from .extremum import Maximum, Minimum
from .fully_connected import FullyConnected
from .hard_swish import HardSwish
from .logistic import Logistic, Tanh
from .lookup import Lookup
from .move import BroadcastTo, Move, Slice, Transpose
from .mul import Mul
from .pad import Pad
from .piecewise_linear import Abs, LeakyRelu, PiecewiseLinear, Quantize, Relu
from .pointwise import Pointwise, Step
from .pool import AveragePool2d, AverageRounding, MaxPool2d
from .real_function import Function, RealFunction
from .reduce import Mean, Sum
from .reshape import Reshape
from .resize import ResizeBilinear, ResizeMethod, ResizeNearest
from .rsqrt import Rsqrt
from .softmax import LogSoftmax, Softmax
from .squared_difference import SquaredDifference
from .window import Window, same_padding

__all__ = [
    "Abs",
    "Activation",
    "Add",
    "Affine",
    "ArgMax",
    "AveragePool2d",
    "AverageRounding",
    "BroadcastTo",
    "Concat",
    "Conv2d",
    "DepthwiseConv2d",
    "FullyConnected",
    "Function",
    "HardSwish",
    "LeakyRelu",
    "LogSoftmax",
    "Logistic",
    "Lookup",
    "MaxPool2d",
    "Maximum",
    "Mean",
    "Minimum",
    "Move",
    "Mul",
    "Pack",
    "Pad",
    "PiecewiseLinear",
    "Pointwise",
    "Quantize",
    "RealFunction",
    "Relu",
    "Rescale",
    "Reshape",
    "ResizeBilinear",
    "ResizeMethod",
    "ResizeNearest",
    "Rsqrt",
    "Slice",
    "Softmax",
    "SquaredDifference",
    "Step",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Window",
    "same_padding",
]
