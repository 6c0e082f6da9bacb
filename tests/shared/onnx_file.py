"""Tiny ONNX files for the tests, written by hand: a network of one operation from the picture to an
output.

Protocol Buffers' wire format: https://protobuf.dev/programming-guides/encoding; the fields are
those of onnx.proto.
"""

FLOAT, UINT8, INT64 = 1, 2, 7  # TensorProto.DataType


def network(operation, shape_in, shape_out, *, type_in=FLOAT, type_out=FLOAT, attributes=(), weight=None) -> bytes:
    """A model with the input "x" and the output "y". weight: a second input of the operation,
    (dims, float bytes).

    attributes: (name, int or list of ints) each.
    """
    inputs = [_text(1, "x")] + ([_text(1, "w")] if weight else [])
    node = b"".join(inputs) + _text(2, "y") + _text(4, operation)
    node += b"".join(_message(5, _attribute(*each)) for each in attributes)
    graph = _message(1, node) + _text(2, "graph")
    if weight:
        dims, data = weight
        tensor = b"".join(_number(1, dim) for dim in dims) + _number(2, FLOAT) + _text(8, "w") + _message(9, data)
        graph += _message(5, tensor)
    graph += _message(11, _value("x", type_in, shape_in)) + _message(12, _value("y", type_out, shape_out))
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 13))  # IR version 8, operator set 13


def _attribute(name, value):
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + b"".join(_number(8, each) for each in value) + _number(20, 7)


def _value(name, kind, shape):
    """shape: numbers, or text for what is not fixed."""
    dims = b"".join(_message(1, _number(1, dim) if isinstance(dim, int) else _text(2, dim)) for dim in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, kind) + _message(2, dims)))


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _message(field, data):
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field, text):
    return _message(field, text.encode())
