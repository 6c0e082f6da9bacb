"""The mean of the weights of several runs: `python -m obic.train.soup weights runs/codec.pt --out runs/mean.pt`.

Runs that go on from one another, or from one start, end on different sides of the same valley; the mean lies lower
than any of them, for no compute at all (Wortsman et al. 2022, "Model soups").
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from obic.nn.model import CodecNetwork, Shape
from obic.train.checkpoint import grown, load_checkpoint, save_checkpoint
from obic.train.optim import Average


def mean(networks: Sequence[CodecNetwork], shares: Sequence[float]) -> CodecNetwork:
    """A network with the mean of their weights. shares: what each counts for, in any unit.

    Raises ValueError if they have different shapes.
    """
    if len({network.shape for network in networks}) > 1:
        raise ValueError("networks of different shapes have no mean")
    states = [network.state_dict() for network in networks]
    result = CodecNetwork(networks[0].shape)
    result.load_state_dict({
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True)) / sum(shares)
        for name in states[0]
    })
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.soup", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="PATH", help="checkpoints, or folders of packed weights")
    parser.add_argument("--shares", nargs="+", type=float, help="what each counts for (default: all the same)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, for `python -m obic.train.pack`")
    args = parser.parse_args()
    shares = args.shares or [1.0] * len(args.runs)
    if len(shares) != len(args.runs) or min(shares) < 0 or sum(shares) == 0:
        parser.error("as many shares as runs, none below 0, some above")
    result = mean([grown(load_checkpoint(path), Shape()) for path in args.runs], shares)
    save_checkpoint(args.out, result, Average(result), {"steps": 0, "minutes": 0.0, "progress": 1.0})


if __name__ == "__main__":
    main()
