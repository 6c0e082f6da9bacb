"""The networks in numpy alone: 1x1 convolutions are products of matrices (BLAS). Each step goes
over the places in strips that stay in the cache, on a pool of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, repeat

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from obic.backends.strips import over_strips
from obic.constants import CELL
from obic.shape import ORDER, PASSES, Shape

Arrays = Mapping[str, np.ndarray]
Network = Callable[[np.ndarray], np.ndarray]  # [h, w, C] -> [h, w, C]; may write over what it is given


class NumpyBackend:
    """As `obic.backends.Backend`. What is only for encoding is there if its parameters are."""

    tile = 128 * 256  # 2048 x 4096 pixels; about 0.3 GB at work

    def __init__(self, arrays: Arrays, shape: Shape):
        self.shape = shape
        self.grain = arrays["synthesis.layers.0.weight"].shape[1] - shape.latent - 2
        self._hyper_synthesis = _sequence(
            Pointwise(arrays, "hyper_synthesis.layers.0"), Blocks(Block(arrays, "hyper_synthesis.layers.1")),
            Up(arrays, "hyper_synthesis.layers.2", 2), Blocks(Block(arrays, "hyper_synthesis.layers.3")),
            Up(arrays, "hyper_synthesis.layers.4", 2))
        trunk = [Block(arrays, f"context.trunk.{number}") for number in range(shape.context_blocks)]
        self._context = [
            (Pointwise(arrays, f"context.entries.{number}"), Blocks(*trunk, Block(arrays, f"context.exits.{number}.0")),
             PassExit(arrays, f"context.exits.{number}.1", number)) for number in range(PASSES)]
        self._synthesis = _sequence(
            Pointwise(arrays, "synthesis.layers.0"), _blocks(arrays, "synthesis.layers.1", shape.coarse_blocks),
            Up(arrays, "synthesis.layers.2", 2), _blocks(arrays, "synthesis.layers.3", shape.fine_blocks),
            Up(arrays, "synthesis.layers.4", CELL // 2))
        if "analysis.layers.0.conv.weight" not in arrays:
            return
        self._analysis = _sequence(
            Down(arrays, "analysis.layers.0", CELL // 2), _blocks(arrays, "analysis.layers.1", shape.fine_blocks),
            Down(arrays, "analysis.layers.2", 2), _blocks(arrays, "analysis.layers.3", shape.coarse_blocks),
            Pointwise(arrays, "analysis.layers.4"))
        self._hyper_analysis = _sequence(
            Pointwise(arrays, "hyper_analysis.layers.0"), Blocks(Block(arrays, "hyper_analysis.layers.1")),
            Down(arrays, "hyper_analysis.layers.2", 2), Blocks(Block(arrays, "hyper_analysis.layers.3")),
            Down(arrays, "hyper_analysis.layers.4", 2), Blocks(Block(arrays, "hyper_analysis.layers.5")),
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
        mean, step = np.zeros_like(known), np.ones_like(known)
        for *maps, out_mean, out_step in zip(known, hyper, conditions, mean, step, strict=True):
            cells = maps[2][..., 0] != 0
            seen = _grown(cells, self.shape.reach.context)
            x = np.empty((*cells.shape, self.shape.context), np.float32)
            x[seen[0]] = entry(np.concatenate([each[seen[0]] for each in maps], -1))
            end(blocks(x, None if cells.all() else seen), cells, out_mean, out_step)
        return mean, step

    def synthesis(self, features: np.ndarray, conditions: np.ndarray, grain: np.ndarray) -> np.ndarray:
        grain = np.broadcast_to(grain, (*features.shape[:3], self.grain))
        inputs = np.concatenate([features, conditions, grain], 3)
        return np.stack([_to_bytes(self._synthesis(each)) for each in inputs])


class Pointwise:
    """A 1x1 convolution: [..., inputs] -> [..., outputs]. inputs, outputs: another order of
    either's channels, or some of them. offset: what is to be added to the inputs. scale: a factor
    on all outputs."""

    def __init__(
        self,
        arrays: Arrays,
        name: str,
        inputs: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
        offset: np.ndarray | None = None,
        scale: float = 1,
    ):
        bias = arrays[f"{name}.bias"].astype(np.float32)
        matrix = arrays[f"{name}.weight"].reshape(len(bias), -1)
        if offset is not None:
            bias += matrix.astype(np.float32) @ offset.astype(np.float32)
        if inputs is not None:
            matrix = matrix[:, inputs]
        if outputs is not None:
            matrix, bias = matrix[outputs], bias[outputs]
        self._matrix = matrix.T.astype(np.float32, order="C")  # in this order BLAS is fastest
        self._matrix *= np.float32(scale)
        self._bias = bias * np.float32(scale)
        self.outputs = len(bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result = np.empty((*x.shape[:-1], self.outputs), np.float32)

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
        result = np.empty((height // f, width // f, self._conv.outputs), np.float32)

        def work(rows: slice) -> None:
            part = squares[rows].reshape(-1, f * f * channels)
            result[rows] = self._conv.of(part).reshape(result[rows].shape)

        over_strips(work, result)
        return result


class Up:
    """The inverse: a 1x1 convolution, then depth to space (`obic.nn.blocks.Up`; spec 8.1)."""

    def __init__(self, arrays: Arrays, name: str, factor: int):
        channels = len(arrays[f"{name}.conv.bias"]) // factor**2
        order = np.arange(channels * factor**2).reshape(channels, factor**2).T.ravel()
        self._factor, self._conv = factor, Pointwise(arrays, f"{name}.conv", outputs=order)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        f, (height, width, _) = self._factor, x.shape
        result = np.empty((height, f, width, self._conv.outputs // f), np.float32)

        def work(rows: slice) -> None:
            squares = self._conv.of(x[rows].reshape(-1, x.shape[-1]))
            result[rows] = squares.reshape(-1, width, *result.shape[1::2]).transpose(0, 2, 1, 3)

        over_strips(work, result)
        return result.reshape(f * height, f * width, -1)


class PassExit:
    """The last convolution of a pass of the context: mean and step of those elements that it codes,
    a quarter of the channels at each position of a 2x2 group (spec 8.2)."""

    def __init__(self, arrays: Arrays, name: str, number: int):
        channels = len(arrays[f"{name}.bias"]) // 2
        self._quarters: list[tuple[int, slice, Pointwise]] = []
        for group, positions in enumerate(ORDER):
            quarter = np.arange(channels).reshape(PASSES, -1)[group]
            conv = Pointwise(arrays, name, outputs=np.concatenate([quarter, channels + quarter]))
            self._quarters.append((positions[number], slice(quarter[0], quarter[-1] + 1), conv))

    def __call__(self, x: np.ndarray, cells: np.ndarray, mean: np.ndarray, step: np.ndarray) -> None:
        """From x [h, w, C] to mean and step [h, w, M] at the cells, bool [h, w]."""
        for position, quarter, conv in self._quarters:
            here = np.zeros_like(cells)
            square = np.s_[position // 2 :: 2, position % 2 :: 2]
            here[square] = cells[square]
            values = conv(x[here])
            mean[here, quarter], steps = np.split(values, 2, 1)
            step[here, quarter] = np.exp2(np.tanh(steps))


class Blocks:
    """Blocks one after another for one [h, w, C]; the result takes the place of what they are
    given.

    One walk over the strips ends a block and begins the next, while the strip is in the cache.
    """

    def __init__(self, *blocks: Block):
        self._blocks = blocks

    def __call__(self, x: np.ndarray, places: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """places: bool [h, w] each, where values are given, and where the result of each block is
        wanted; what is elsewhere counts as beyond the border."""
        height, width, channels = x.shape
        mixed, next_mixed = (np.zeros((height + 2, width + 2, channels), np.float32) for _ in range(2))

        def walk(ended: Block | None, begun: Block | None, wanted: np.ndarray | None) -> None:
            def work(rows: slice) -> None:
                here = None if wanted is None else wanted[rows]
                own = x[rows].reshape(-1, channels) if here is None else x[rows][here]
                if ended:
                    ended.end(own, mixed[rows.start : rows.stop + 2], here)
                if begun:
                    begun.begin(own, next_mixed[rows.start + 1 : rows.stop + 1, 1:-1], here)
                if here is not None:
                    x[rows][here] = own

            over_strips(work, x)

        for (ended, begun), wanted in zip(pairwise([None, *self._blocks, None]), places or repeat(None), strict=False):
            walk(ended, begun, wanted)
            mixed, next_mixed = next_mixed, mixed
        return x


class Block:
    """`obic.nn.blocks.Block` (spec 8.1), on a strip of rows, in two parts: what the depthwise
    convolution sees of the rows beside them must be there for the second.

    x: [n, C], the values at `places` of the rows, bool [h, w], or all for None. The sigmoid of x is
    (1 + tanh(x / 2)) / 2; the halves are in the weights.
    """

    def __init__(self, arrays: Arrays, name: str):
        self._mix_in = Pointwise(arrays, f"{name}.mix_in", scale=0.5)
        self._kernel = arrays[f"{name}.depthwise.weight"][:, 0].transpose(1, 2, 0).astype(np.float32, order="C")
        self._mix_out = Pointwise(arrays, f"{name}.mix_out", offset=arrays[f"{name}.depthwise.bias"])
        halves = np.arange(len(arrays[f"{name}.gate.bias"])).reshape(2, -1)
        self._value, self._gate = (Pointwise(arrays, f"{name}.gate", outputs=half, scale=0.5) for half in halves)
        self._gate_out = Pointwise(arrays, f"{name}.gate_out")
        damping = arrays.get(f"{name}.log_damping")
        self._damping = None if damping is None else np.exp(damping.astype(np.float32))

    def begin(self, x: np.ndarray, mixed: np.ndarray, places: np.ndarray | None) -> None:
        """Writes SiLU of mix_in, to mixed [h, w, C]."""
        y = self._mix_in.of(self._damped(x, 0))
        if places is None:
            np.multiply(y.reshape(mixed.shape), _one_plus_tanh(y).reshape(mixed.shape), out=mixed)
        else:
            mixed[places] = y * _one_plus_tanh(y)

    def end(self, x: np.ndarray, mixed: np.ndarray, places: np.ndarray | None) -> None:
        """Adds mix_out of the depthwise convolution to x, then gate_out of the gated product.
        mixed: [h + 2, w + 2, C], with what surrounds it."""
        spread = np.einsum("hwcij,ijc->hwc", sliding_window_view(mixed, (3, 3), (0, 1)), self._kernel)
        x += self._mix_out.of((spread if places is None else spread[places]).reshape(x.shape))
        damped = self._damped(x, 1)
        gated = _one_plus_tanh(self._gate.of(damped))
        gated *= self._value.of(damped)
        x += self._gate_out.of(gated)

    def _damped(self, x: np.ndarray, branch: int) -> np.ndarray:
        if self._damping is None:
            return x
        power = np.einsum("pc,pc->p", x, x) * (self._damping[branch] / x.shape[1])
        return x * (1 / np.sqrt(1 + power))[:, None]


def _blocks(arrays: Arrays, name: str, count: int) -> Blocks:
    return Blocks(*(Block(arrays, f"{name}.{number}") for number in range(count)))


def _sequence(*steps: Network) -> Network:
    def run(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return run


def _grown(places: np.ndarray, steps: int) -> list[np.ndarray]:
    """What 3x3 convolutions, one after another, must be given for their result at places, bool [h,
    w]: for the first of so many, for the second, and so on; at last the places."""
    grown = [places]
    for _ in range(steps):
        grown.insert(0, np.any(sliding_window_view(np.pad(grown[0], 1), (3, 3)), axis=(2, 3)))
    return grown


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
