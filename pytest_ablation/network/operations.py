"""How many floating point operations one call of one of Keras's operations takes, by its class.

An addition, a multiplication, a division, a comparison, a choice between two numbers, and a
function of one number (exp, log, tanh, sqrt, erf) are one operation each; a multiplication with its
addition is two. Moving, copying, looking up and casting numbers is none, and so are drawing random
numbers and whatever is done once for all examples, with weights alone. A kernel counts at every
place of its output, the padding that it meets there included, as published figures have it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

Shape = tuple[int, ...]

STATISTICS = 4  # a mean, and a variance: subtract, square, add
SOFTMAX = 5  # a maximum, subtract it, exp, their sum, divide
DROPPED = 2  # is it kept, and scaled


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: What is called.
        args: Its positional arguments, tensors among them.
        kwargs: Its arguments by name.
        output: Shape of its first result, the batch's axis included.
        function: Counts a function of one tensor, as an activation, given its shape.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Shape
    function: Callable[[Any, Shape], int]

    @property
    def inputs(self) -> list[Shape]:
        """Shapes of the arguments that have one: tensors, and weights given to an operation."""
        arguments = keras.tree.flatten((self.args, self.kwargs))
        return [tuple(x.shape) for x in arguments if hasattr(x, "shape")]

    @property
    def named(self) -> dict[str, Shape]:
        """Shapes of the arguments that are tensors, by name."""
        bound = inspect.signature(self.operation.call).bind(*self.args, **self.kwargs)
        tensors = {name: x for name, x in bound.arguments.items() if hasattr(x, "shape")}
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


Count = Callable[[Call], int]


def count_of(operation: Any) -> Count | None:
    """Return what counts a call of an operation; None where its class is not known."""
    is_keras = type(operation).__module__.startswith("keras.")
    return OPERATIONS.get(type(operation).__name__) if is_keras else None


def nothing(call: Call) -> int:
    """Return that a call does no arithmetic, whatever its size."""
    return 0


def an_output(operations: int) -> Count:
    """Return a count of so many operations for each number of the output."""
    return lambda call: operations * math.prod(call.output)


def an_input(operations: int) -> Count:
    """Return a count of so many operations for each number of the first input."""
    return lambda call: operations * math.prod(call.inputs[0])


root_mean_square = an_output(4)  # square and add; divide, and scale


def einsum(equation: str, operands: list[Shape], output: Shape) -> int:
    """Return the operations of an Einstein sum of two: two a product that is added up, else one."""
    ends = equation.replace(" ", "").split("->")
    terms = ends[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, operands, strict=True):
        before, _, after = term.partition("...")
        sizes |= dict(zip(before, shape, strict=False))
        sizes |= dict(zip(reversed(after), reversed(shape), strict=False))
    summed = math.prod(length for label, length in sizes.items() if label not in ends[-1])
    return (2 if summed > 1 else 1) * summed * math.prod(output)


def average_pooling(call: Call) -> int:
    """Return the operations of a window's sum, divided."""
    return _window(call) * math.prod(call.output)


def max_pooling(call: Call) -> int:
    """Return the operations of a window's maximum."""
    return (_window(call) - 1) * math.prod(call.output)


def _window(call: Call) -> int:
    window = call.operation.pool_size
    return int(window ** (len(call.output) - 2)) if isinstance(window, int) else math.prod(window)


def _einsum_of_operands(call: Call) -> int:
    if len(call.inputs) != 2 or "->" not in call.operation.subscripts:
        raise NotImplementedError("an einsum of other than two operands, or without ->")
    return einsum(call.operation.subscripts, call.inputs, call.output)


def _matmul(call: Call) -> int:
    return 2 * call.inputs[0][-1] * math.prod(call.output)


def _contracted(call: Call) -> int:
    """Return the operations of a product whose output is what was not summed over."""
    one, other = call.inputs
    # Summed axes are in both inputs and not in the output: √(|a| · |b| / |output|) of them.
    return (
        2
        * math.isqrt(math.prod(one) * math.prod(other) // math.prod(call.output))
        * math.prod(call.output)
    )


def _convolution_by(call: Call) -> int:
    kernel = call.inputs[1]
    return 2 * math.prod(kernel[:-1]) * math.prod(call.output)


def _depthwise_by(call: Call) -> int:
    return 2 * math.prod(call.inputs[1][:-2]) * math.prod(call.output)


def _separable_by(call: Call) -> int:
    depthwise, pointwise = call.inputs[1:3]
    places = math.prod(call.output) // pointwise[-1]
    return 2 * (math.prod(depthwise) + math.prod(pointwise)) * places


def _transposed_by(call: Call) -> int:
    return 2 * math.prod(call.inputs[1][:-1]) * math.prod(call.inputs[0])


def _attention_of(call: Call) -> int:
    query, key = call.inputs[:2]  # batch, steps, heads, size
    scores = math.prod(query[:-1]) * key[1]
    return math.prod(query) + scores * (4 * query[-1] + SOFTMAX)


def _gelu(call: Call) -> int:
    return (9 if call.operation.approximate else 5) * math.prod(call.output)


def _relu_with_limits(call: Call) -> int:
    relu = call.operation
    limits = (relu.max_value is not None) + 2 * bool(relu.negative_slope) + bool(relu.threshold)
    return (1 + limits) * math.prod(call.output)


# By name: Keras gives these classes no public one. Those not here are named as not counted.
_MOVES = """
    BroadcastTo Cast Concatenate ConvertToTensor Copy DepthToSpace Diag Diagonal Dsplit ExpandDims
    ExtractPatches Flip Fliplr Flipud FullLike GetItem Hsplit Hstack Moveaxis OneHot OnesLike Pad
    Ravel Repeat Reshape Roll Rot90 SaturateCast Slice SpaceToDepth Split Squeeze Stack StopGradient
    Swapaxes Take TakeAlongAxis Tile Transpose Tril Triu Unfold Unstack Vsplit Vstack ZerosLike
    LogicalAnd LogicalNot LogicalOr LogicalXor"""
_ONE_AN_OUTPUT = """
    Absolute Add Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Cbrt Ceil Cos Cosh Divide
    Equal Erf Erfc Erfinv Exp Exp2 Expm1 Fabs Floor FloorDivide Greater GreaterEqual Isfinite Isinf
    Isnan Less LessEqual Log Log10 Log1p Log2 Maximum Minimum Mod Multiply Negative NotEqual Outer
    Power Reciprocal Relu Round Rsqrt Sign Sin Sinh Sqrt Square Subtract Tan Tanh TrueDivide
    Trunc Where"""
_ONE_AN_INPUT = """
    All Amax Amin Any Argmax Argmin CountNonzero Cumprod Cumsum Max Mean Min Prod Sum"""
_ACTIVATIONS = {  # operations a number, as the formula is written: 1 / (1 + exp(-x)) has four
    "Celu": 6,
    "Elu": 5,
    "Glu": 5,
    "HardShrink": 3,
    "HardSigmoid": 4,
    "HardSilu": 5,
    "HardTanh": 2,
    "LeakyRelu": 3,
    "LogSigmoid": 5,
    "LogSoftmax": SOFTMAX,
    "Mish": 5,
    "Relu6": 2,
    "Selu": 6,
    "Sigmoid": 4,
    "Silu": 5,
    "SoftShrink": 4,
    "Softmax": SOFTMAX,
    "Softplus": 3,
    "Softsign": 3,
    "Squareplus": 5,
    "TanhShrink": 2,
    "Threshold": 2,
}
OPERATIONS: dict[str, Count] = {
    **dict.fromkeys(_MOVES.split(), nothing),
    **dict.fromkeys(_ONE_AN_OUTPUT.split(), an_output(1)),
    **dict.fromkeys(_ONE_AN_INPUT.split(), an_input(1)),
    **{name: an_output(operations) for name, operations in _ACTIVATIONS.items()},
    "Gelu": _gelu,
    "ReLU": _relu_with_limits,
    "Clip": an_output(2),
    "Logsumexp": an_input(4),
    "Moments": an_input(STATISTICS),
    "Norm": an_input(2),
    "Normalize": an_output(3),
    "Std": an_input(STATISTICS),
    "Var": an_input(STATISTICS),
    "BatchNorm": an_output(2),
    "LayerNorm": an_output(STATISTICS + 4),
    "RMSNorm": root_mean_square,
    "AveragePool": average_pooling,
    "MaxPool": max_pooling,
    "AdaptiveAveragePool": an_input(1),
    "AdaptiveMaxPool": an_input(1),
    "Conv": _convolution_by,
    "ConvTranspose": _transposed_by,
    "DepthwiseConv": _depthwise_by,
    "SeparableConv": _separable_by,
    "Dot": _contracted,
    "DotProductAttention": _attention_of,
    "Einsum": _einsum_of_operands,
    "Inner": _contracted,
    "Matmul": _matmul,
    "Tensordot": _contracted,
    "Vdot": _contracted,
}

# Activations that Keras cannot follow as a graph: operations a number.
FUNCTIONS = {keras.activations.hard_silu: 5, keras.activations.mish: 5}
