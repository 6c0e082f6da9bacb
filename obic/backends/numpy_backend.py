"""The networks in numpy alone: 1x1 convolutions are products of matrices (BLAS). Each step goes
over the places in strips that stay in the cache, on a pool of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from obic.backends.strips import over_strips
from obic.constants import CELL
from obic.shape import PASSES, Shape

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
            (Pointwise(arrays, f"context.entries.{number}"), [*trunk, Block(arrays, f"context.exits.{number}.0")],
             Pointwise(arrays, f"context.exits.{number}.1")) for number in range(PASSES)]
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
        entry, blocks, end = self._context[number]
        result = np.zeros((*known.shape[:3], 2 * known.shape[3]), np.float32)
        for out, *maps in zip(result, known, hyper, conditions, strict=True):
            needed = _grown(maps[2][..., 0] != 0, len(blocks))
            places = None if needed.all() else needed
            x = entry(np.concatenate([_taken(each, places) for each in maps], -1))
            for block in blocks:
                x = block(x, places)
            out[... if places is None else places] = end(x)
        mean, step = np.split(result, 2, 3)
        return mean, np.exp2(np.tanh(step))

    def synthesis(self, features: np.ndarray, conditions: np.ndarray, grain: np.ndarray) -> np.ndarray:
        grain = np.broadcast_to(grain, (*features.shape[:3], self.grain))
        inputs = np.concatenate([features, conditions, grain], 3)
        return np.stack([_to_bytes(self._synthesis(each)) for each in inputs])


class Pointwise:
    """A 1x1 convolution: [..., inputs] -> [..., outputs]. inputs, outputs: another order of
    either's channels. scale: a factor on all outputs."""

    def __init__(
        self,
        arrays: Arrays,
        name: str,
        inputs: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
        scale: float = 1,
    ):
        bias = np.float32(scale) * arrays[f"{name}.bias"].astype(np.float32)
        matrix = arrays[f"{name}.weight"].reshape(len(bias), -1)
        if inputs is not None:
            matrix = matrix[:, inputs]
        if outputs is not None:
            matrix, bias = matrix[outputs], bias[outputs]
        self._matrix, self._bias = matrix.T.astype(np.float32, order="C"), bias  # in this order BLAS is fastest
        self._matrix *= np.float32(scale)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result = np.empty((*x.shape[:-1], len(self._bias)), np.float32)

        def work(strip: slice) -> None:
            result[strip] = self.of(x[strip].reshape(-1, x.shape[-1])).reshape(result[strip].shape)

        over_strips(work, result)
        return result

    def of(self, x: np.ndarray) -> np.ndarray:
        """[n, inputs] -> [n, outputs], without other threads."""
        y = x @ self._matrix
        y += self._bias
        return y


class Down:
    """To a grid `factor` times as coarse: space to depth, then a 1x1 convolution
    (`obic.nn.blocks.Down`)."""

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
    """`obic.nn.blocks.Block` (spec 8.1), for one [h, w, C]; its result takes the place of what it
    is given.

    The sigmoid of x is (1 + tanh(x / 2)) / 2; the halves are in the weights.
    """

    def __init__(self, arrays: Arrays, name: str):
        self._mix_in, self._gate = (Pointwise(arrays, f"{name}.{part}", scale=0.5) for part in ("mix_in", "gate"))
        self._mix_out, self._gate_out = (Pointwise(arrays, f"{name}.{part}") for part in ("mix_out", "gate_out"))
        kernel = arrays[f"{name}.depthwise.weight"].astype(np.float32)  # [C, 1, 3, 3]
        self._kernel = np.ascontiguousarray(kernel[:, 0].transpose(1, 2, 0))
        self._kernel_bias = arrays[f"{name}.depthwise.bias"].astype(np.float32)
        damping = arrays.get(f"{name}.log_damping")
        self._damping = None if damping is None else np.exp(damping.astype(np.float32))

    def __call__(self, x: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
        """places: bool [h, w], those that are given, as x [n, C]; what is elsewhere counts as
        beyond the border."""
        channels = x.shape[-1]
        height, width = x.shape[:2] if places is None else places.shape
        counts = np.full(height, width) if places is None else places.sum(1)
        first = [0, *np.cumsum(counts)]  # of each row
        flat = x.reshape(-1, channels)
        mixed = np.zeros((height + 2, width + 2, channels), np.float32)  # with a border of zeros

        def mix(rows: slice) -> None:
            """SiLU of mix_in."""
            y = self._mix_in.of(self._damped(flat[first[rows.start] : first[rows.stop]], 0))
            inner = mixed[rows.start + 1 : rows.stop + 1, 1:-1]
            if places is None:
                np.multiply(y.reshape(inner.shape), _one_plus_tanh(y).reshape(inner.shape), out=inner)
            else:
                inner[places[rows]] = y * _one_plus_tanh(y)

        def spread_and_gate(rows: slice) -> None:
            """Adds mix_out of the depthwise convolution, then gate_out of the gated product."""
            own = flat[first[rows.start] : first[rows.stop]]
            seen = sliding_window_view(mixed[rows.start : rows.stop + 2], (3, 3), (0, 1))
            spread = np.einsum("hwcij,ijc->hwc", seen, self._kernel)
            spread += self._kernel_bias
            own += self._mix_out.of(_taken(spread, None if places is None else places[rows]).reshape(-1, channels))
            y = self._gate.of(self._damped(own, 1))
            gate = _one_plus_tanh(y[:, channels:])
            gate *= y[:, :channels]
            own += self._gate_out.of(gate)

        over_strips(mix, mixed[1:-1])
        over_strips(spread_and_gate, mixed[1:-1])
        return x

    def _damped(self, x: np.ndarray, branch: int) -> np.ndarray:
        if self._damping is None:
            return x
        power = np.einsum("pc,pc->p", x, x) * (self._damping[branch] / x.shape[1])
        return x * (1 / np.sqrt(1 + power))[:, None]


def _blocks(arrays: Arrays, name: str, count: int) -> list[Block]:
    return [Block(arrays, f"{name}.{number}") for number in range(count)]


def _sequence(*steps: Network) -> Network:
    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def _grown(places: np.ndarray, steps: int) -> np.ndarray:
    """With what is as near to places, bool [h, w], as so many 3x3 convolutions see."""
    for _ in range(steps):
        places = np.any(sliding_window_view(np.pad(places, 1), (3, 3)), axis=(2, 3))
    return places


def _taken(values: np.ndarray, places: np.ndarray | None) -> np.ndarray:
    """The values [h, w, C] at places, bool [h, w]: [n, C]; None: all, as they are."""
    return values if places is None else values[places]


def _one_plus_tanh(x: np.ndarray) -> np.ndarray:
    result = np.tanh(x)
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
