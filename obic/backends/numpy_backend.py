"""The networks in numpy alone: 1x1 convolutions are products of matrices (BLAS, on all cores), all else goes over the
places in strips that stay in the cache, on a pool of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from obic.backends.strips import over_strips
from obic.constants import CELL
from obic.shape import PASSES, Shape

CHUNK = 8192  # places that a product of matrices takes at a time where its result is wide and soon used up

Arrays = Mapping[str, np.ndarray]
Network = Callable[[np.ndarray], np.ndarray]  # [h, w, C] -> [h, w, C]; may write over what it is given


class NumpyBackend:
    """As `obic.backends.Backend`. What is only for encoding is there if its parameters are."""

    def __init__(self, arrays: Arrays, shape: Shape):
        self.shape = shape
        self.grain = arrays["synthesis.layers.0.weight"].shape[1] - shape.latent - 2
        self._hyper_synthesis = _sequence(
            Pointwise(arrays, "hyper_synthesis.layers.0"), Block(arrays, "hyper_synthesis.layers.1"),
            Up(arrays, "hyper_synthesis.layers.2", 2), Block(arrays, "hyper_synthesis.layers.3"),
            Up(arrays, "hyper_synthesis.layers.4", 2))
        trunk = [Block(arrays, f"context.trunk.{number}") for number in range(shape.context_blocks)]
        self._context = [
            _sequence(Pointwise(arrays, f"context.entries.{number}"), *trunk,
                      Block(arrays, f"context.exits.{number}.0"), Pointwise(arrays, f"context.exits.{number}.1"))
            for number in range(PASSES)]
        self._synthesis = _sequence(
            Pointwise(arrays, "synthesis.layers.0"), *_blocks(arrays, "synthesis.layers.1", shape.coarse_blocks),
            Up(arrays, "synthesis.layers.2", 2), *_blocks(arrays, "synthesis.layers.3", shape.fine_blocks),
            Up(arrays, "synthesis.layers.4", CELL // 2))
        if "analysis.layers.0.conv.weight" not in arrays:
            return
        self._analysis = _sequence(
            Down(arrays, "analysis.layers.0", CELL // 2), *_blocks(arrays, "analysis.layers.1", shape.fine_blocks),
            Down(arrays, "analysis.layers.2", 2), *_blocks(arrays, "analysis.layers.3", shape.coarse_blocks),
            Pointwise(arrays, "analysis.layers.4"))
        self._hyper_analysis = _sequence(
            Pointwise(arrays, "hyper_analysis.layers.0"), Block(arrays, "hyper_analysis.layers.1"),
            Down(arrays, "hyper_analysis.layers.2", 2), Block(arrays, "hyper_analysis.layers.3"),
            Down(arrays, "hyper_analysis.layers.4", 2), Block(arrays, "hyper_analysis.layers.5"),
            Pointwise(arrays, "hyper_analysis.layers.6"))

    def array(self, values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values)

    def numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def concatenate(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays)

    def analysis(self, pixels: np.ndarray) -> np.ndarray:
        return np.stack([self._analysis(each / np.float32(255) - np.float32(0.5)) for each in pixels])

    def hyper_analysis(self, scaled: np.ndarray, conditions: np.ndarray) -> np.ndarray:
        return np.stack([self._hyper_analysis(each) for each in np.concatenate([scaled, conditions], 3)])

    def hyper_synthesis(self, z: np.ndarray) -> np.ndarray:
        return np.stack([self._hyper_synthesis(each) for each in z])

    def context(
        self, number: int, known: np.ndarray, hyper: np.ndarray, conditions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = np.concatenate([known, hyper, conditions], 3)
        mean, step = np.split(np.stack([self._context[number](each) for each in inputs]), 2, 3)
        return mean, np.exp2(np.tanh(step))

    def synthesis(self, features: np.ndarray, conditions: np.ndarray, grain: np.ndarray) -> np.ndarray:
        grain = np.broadcast_to(grain, (*features.shape[:3], self.grain))
        inputs = np.concatenate([features, conditions, grain], 3)
        return np.stack([_to_bytes(self._synthesis(each)) for each in inputs])


class Pointwise:
    """A 1x1 convolution: [..., inputs] -> [..., outputs]. inputs, outputs: another order of either's channels."""

    def __init__(self, arrays: Arrays, name: str, inputs: np.ndarray | None = None, outputs: np.ndarray | None = None):
        self.bias = arrays[f"{name}.bias"].astype(np.float32)
        matrix = arrays[f"{name}.weight"].astype(np.float32).reshape(len(self.bias), -1).T
        if inputs is not None:
            matrix = matrix[inputs]
        if outputs is not None:
            matrix, self.bias = matrix[:, outputs], self.bias[outputs]
        self.matrix = np.ascontiguousarray(matrix)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = x.reshape(-1, x.shape[-1]) @ self.matrix

        def add_bias(strip: slice) -> None:
            y[strip] += self.bias

        over_strips(add_bias, y)
        return y.reshape(*x.shape[:-1], -1)


class Down:
    """To a grid `factor` times as coarse: space to depth, then a 1x1 convolution (`obic.nn.blocks.Down`)."""

    def __init__(self, arrays: Arrays, name: str, factor: int):
        channels = arrays[f"{name}.conv.weight"].shape[1] // factor**2
        order = np.arange(channels * factor**2).reshape(channels, factor**2).T.ravel()
        self._factor, self._conv = factor, Pointwise(arrays, f"{name}.conv", inputs=order)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        f, (height, width, channels) = self._factor, x.shape
        squares = x.reshape(height // f, f, width // f, f * channels).transpose(0, 2, 1, 3)
        return self._conv(squares.reshape(height // f, width // f, -1))


class Up:
    """The inverse: a 1x1 convolution, then depth to space (`obic.nn.blocks.Up`; spec 8.1)."""

    def __init__(self, arrays: Arrays, name: str, factor: int):
        channels = len(arrays[f"{name}.conv.bias"]) // factor**2
        order = np.arange(channels * factor**2).reshape(channels, factor**2).T.ravel()
        self._factor, self._conv = factor, Pointwise(arrays, f"{name}.conv", outputs=order)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        f, (height, width, _) = self._factor, x.shape
        squares = self._conv(x).reshape(height, width, f, -1).transpose(0, 2, 1, 3)
        return squares.reshape(f * height, f * width, -1)


class Block:
    """`obic.nn.blocks.Block` (spec 8.1), for one [h, w, C]; its result takes the place of what it is given."""

    def __init__(self, arrays: Arrays, name: str):
        self._mix_in, self._mix_out = (Pointwise(arrays, f"{name}.{part}") for part in ("mix_in", "mix_out"))
        self._gate, self._gate_out = (Pointwise(arrays, f"{name}.{part}") for part in ("gate", "gate_out"))
        kernel = arrays[f"{name}.depthwise.weight"].astype(np.float32)  # [C, 1, 3, 3]
        self._kernel = np.ascontiguousarray(kernel[:, 0].transpose(1, 2, 0))
        self._kernel_bias = arrays[f"{name}.depthwise.bias"].astype(np.float32)
        damping = arrays.get(f"{name}.log_damping")
        self._damping = None if damping is None else np.exp(damping.astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        height, width, channels = x.shape
        mixed = np.zeros((height + 2, width + 2, channels), np.float32)  # with a border of zeros
        rows = max(1, CHUNK // width)
        chunks = [slice(start, min(start + rows, height)) for start in range(0, height, rows)]
        for chunk in chunks:
            inner = mixed[chunk.start + 1 : chunk.stop + 1, 1:-1]
            self._mix(x[chunk], inner)
        for chunk in chunks:
            self._spread(mixed[chunk.start : chunk.stop + 2], x[chunk])
            self._gated(x[chunk].reshape(-1, channels))
        return x

    def _mix(self, x: np.ndarray, out: np.ndarray) -> None:
        """SiLU of mix_in, [h, w, C] -> out."""
        y = (self._damped(x.reshape(-1, x.shape[2]), 0) @ self._mix_in.matrix).reshape(x.shape)

        def activate(rows: slice) -> None:
            part = y[rows]
            part += self._mix_in.bias
            np.divide(part, _one_plus_exp_of_minus(part), out=out[rows])

        over_strips(activate, y)

    def _spread(self, mixed: np.ndarray, x: np.ndarray) -> None:
        """Adds mix_out of the depthwise convolution of mixed [h + 2, w + 2, C] to x [h, w, C]."""
        width, channels = x.shape[1:]
        y = np.empty_like(x)

        def convolve(rows: slice) -> None:
            out, count = y[rows], rows.stop - rows.start
            np.multiply(mixed[rows.start : rows.stop, :width], self._kernel[0, 0], out=out)
            out += self._kernel_bias
            term = np.empty_like(out)
            for dy, dx in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)):
                top = rows.start + dy
                np.multiply(mixed[top : top + count, dx : dx + width], self._kernel[dy, dx], out=term)
                out += term

        over_strips(convolve, y)
        self._add(x.reshape(-1, channels), y.reshape(-1, channels), self._mix_out)

    def _gated(self, x: np.ndarray) -> None:
        """Adds gate_out of the gated product to x [n, C]."""
        channels = x.shape[1]
        y = self._damped(x, 1) @ self._gate.matrix
        product = np.empty_like(x)

        def gate(strip: slice) -> None:
            part = y[strip]
            part += self._gate.bias
            np.divide(part[:, :channels], _one_plus_exp_of_minus(part[:, channels:]), out=product[strip])

        over_strips(gate, x)
        self._add(x, product, self._gate_out)

    def _damped(self, x: np.ndarray, branch: int) -> np.ndarray:
        if self._damping is None:
            return x
        damped = np.empty_like(x)

        def damp(strip: slice) -> None:
            part = x[strip]
            power = np.einsum("pc,pc->p", part, part) * (self._damping[branch] / x.shape[1])
            np.multiply(part, (1 / np.sqrt(1 + power))[:, None], out=damped[strip])

        over_strips(damp, x)
        return damped

    @staticmethod
    def _add(x: np.ndarray, y: np.ndarray, convolution: Pointwise) -> None:
        """Adds a 1x1 convolution of y to x, [n, C] both."""
        result = y @ convolution.matrix

        def add(strip: slice) -> None:
            x[strip] += result[strip]
            x[strip] += convolution.bias

        over_strips(add, x)


def _blocks(arrays: Arrays, name: str, count: int) -> list[Block]:
    return [Block(arrays, f"{name}.{number}") for number in range(count)]


def _sequence(*steps: Network) -> Network:
    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def _one_plus_exp_of_minus(x: np.ndarray) -> np.ndarray:
    """1 + exp(-x): what a value is divided by for its product with the sigmoid of x."""
    result = np.negative(x)
    with np.errstate(over="ignore"):  # infinity is right: the sigmoid is 0
        np.exp(result, out=result)
    result += 1
    return result


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels in -0.5..0.5, float32 [H, W, 3], which are written over -> uint8."""
    result = np.empty(pixels.shape, np.uint8)

    def convert(rows: slice) -> None:
        part = pixels[rows]
        part += 0.5
        part *= 255
        result[rows] = np.rint(part, out=part).clip(0, 255)

    over_strips(convert, pixels)
    return result
