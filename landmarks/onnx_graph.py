"""Networks as ONNX models, written from arrays: the form in which onnxruntime takes them, without torch and onnx.

A model is made in memory from the weights that are there anyway, so no second copy of them lies anywhere. Only what
the package's own networks need of the format is written; field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.engine import Network
from facerec.landmarks.errors import InvalidInputError

_OPSET: Final = 17
_IR_VERSION: Final = 8

_KINDS: Final = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
"""ONNX's number for each type of an array."""

_FLOAT, _INT, _STRING, _FLOATS, _INTS = 1, 2, 3, 6, 7

Attribute = int | float | str | Sequence[int]
"""What a node is set with."""


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative number is its two's complement of 64 bits
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int | float | str | bytes) -> bytes:
    """A field of a protocol buffer: a whole number, a float of 32 bits, or text, bytes or a message with its length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + np.float32(value).tobytes()
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    start = _field(1, name)
    if isinstance(value, int):
        return start + _field(3, value) + _field(20, _INT)
    if isinstance(value, float):
        return start + _field(2, value) + _field(20, _FLOAT)
    if isinstance(value, str):
        return start + _field(4, value) + _field(20, _STRING)
    return start + b"".join(_field(8, int(v)) for v in value) + _field(20, _INTS)


def _place(name: str, kind: str, shape: Sequence[int | str]) -> bytes:
    """An input or output: a length that is text may be any."""
    dims = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, _KINDS[kind]) + _field(2, dims)))


class OnnxGraph:
    """An ONNX model in the making. Values are known by name; each method gives the name of what it adds."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._names = 0

    def _fresh(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def input(self, name: str, shape: Sequence[int | str], kind: str = "float32") -> str:
        """An input; a length that is text may be any, and equal texts are equal lengths."""
        self._inputs.append(_place(name, kind, shape))
        return name

    def output(self, value: str, shape: Sequence[int | str], kind: str = "float32") -> None:
        """Make a value an output of the model."""
        self._outputs.append(_place(value, kind, shape))

    def constant(self, array: NDArray[Any]) -> str:
        """An array that never changes: weights, or a shape (int64). float16 and float64 become float32."""
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        name, data = self._fresh(), np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        head = b"".join(_field(1, n) for n in array.shape) + _field(2, _KINDS[array.dtype.name])
        self._constants.append(head + _field(8, name) + _field(9, data.tobytes()))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """The first output of a node; an input that is left out is ""."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(self, operator: str, outputs: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """All outputs of a node."""
        names = [self._fresh() for _ in range(outputs)]
        parts = [*(_field(1, v) for v in inputs), *(_field(2, v) for v in names), _field(4, operator)]
        parts += [_field(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return names

    def convolution(
        self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None, stride: int = 1, padding: int = 0
    ) -> str:
        """A convolution of weight (O, I, h, w)."""
        given = [self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.add("Conv", x, *given, strides=[stride] * 2, pads=[padding] * 4, kernel_shape=weight.shape[2:])

    def linear(self, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> str:
        """x (N, I) times weight (O, I), plus bias (O,)."""
        given = [self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.add("Gemm", x, *given, transB=1)

    def doubled(self, x: str, linear: bool = False) -> str:
        """Maps of twice the size: each value four times or, `linear`, with bilinear values about half pixels."""
        scales = self.constant(np.array([1, 1, 2, 2], dtype=np.float32))
        if linear:
            return self.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", scales, mode="nearest", **how)

    def encoded(self) -> bytes:
        """The model."""
        parts = [_field(1, node) for node in self._nodes] + [_field(2, "facerec")]
        parts += [_field(5, constant) for constant in self._constants]
        parts += [_field(11, place) for place in self._inputs] + [_field(12, place) for place in self._outputs]
        opset = _field(1, "") + _field(2, _OPSET)
        return _field(1, _IR_VERSION) + _field(7, b"".join(parts)) + _field(8, opset)


def session_of(graph: OnnxGraph) -> Any:
    """onnxruntime's session of a graph on the CPU, with one thread: the caller decides how many photographs are worked
    on at once. Threads may share it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.encoded(), sess_options=options, providers=["CPUExecutionProvider"])


def graph_network(graph: OnnxGraph) -> Network:
    """A graph of one input as a function of arrays."""
    session = session_of(graph)
    name = session.get_inputs()[0].name

    def run(inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        return list(session.run(None, {name: inputs}))

    return run


class Weights:
    """The arrays of a weight file, taken one by one; all must be taken and no others wanted.

    Args:
        arrays: by name.
        what: whose weights are expected, for messages.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], what: str) -> None:
        self._arrays = dict(arrays)
        self._what = what

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """The array of that name and shape, float32.

        Raises:
            InvalidInputError: there is none.
        """
        value = self._arrays.pop(name, None)
        if value is None or value.shape != shape:
            got = "none" if value is None else str(value.shape)
            raise InvalidInputError(f"expected the weights of {self._what}, {name} of shape {shape}; got {got}")
        return value.astype(np.float32)

    def folded(self, convolution: str, norm: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weight of `shape` (O, ...) and bias (O,) of a convolution and the batch normalisation after it."""
        weight, count = self.take(f"{convolution}.weight", *shape), shape[0]
        gain, bias, mean, variance = (
            self.take(f"{norm}.{name}", count).astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + 1e-5)  # torch's epsilon
        return weight * scale.reshape(-1, *[1] * (len(shape) - 1)), bias - mean * scale

    def done(self) -> None:
        """Raises `InvalidInputError` when an array was left over."""
        if self._arrays:
            raise InvalidInputError(f"expected the weights of {self._what}; unknown {sorted(self._arrays)[:3]}")
