"""Do two machines read the same integers out of a file? Run `python -m obic.bench.codec.exactness
FILE...` on both.

Prints what this machine is, a line with a hash for each file, and one over all of them. With
`--backend`, and for PyTorch `--threads`, `--device` and `--no-onednn`, one machine stands for
several. The golden files: `make exactness`.
"""

import argparse
import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from obic.backends import need_torch
from obic.codec import decode_picture, decode_symbols, load_model
from obic.container import Container, open_container
from obic.errors import ObicError, UsageError
from obic.weights import CodecModel


def symbols_hash(container: Container, model: CodecModel) -> str:
    """SHA-256 over the integers of every layer a file has, by index: z, then r, little-endian
    int32, C order."""
    digest = hashlib.sha256()
    for entry in container.header.layers:
        if entry.length is not None:
            for integers in decode_symbols(container, entry.index, model):
                digest.update(np.ascontiguousarray(integers, "<i4").tobytes())
    return digest.hexdigest()


def platform_line(backend: str) -> str:
    """All that can differ between two machines, in one line."""
    names = ("numpy", "constriction") if backend == "numpy" else ("torch", "numpy", "constriction")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    processor = f"{platform.machine()} ({sys.byteorder}-endian)"
    return f"{platform.system()}, {processor}, Python {platform.python_version()}, {libraries}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.codec.exactness", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--backend", choices=["numpy", "torch"], default="numpy", help="what computes the pixels")
    parser.add_argument("--threads", type=int, help="of PyTorch's")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where pixels are made")
    parser.add_argument("--no-onednn", action="store_true")
    options = parser.parse_args(argv)
    models, together = cache(load_model), hashlib.sha256()
    try:
        if options.backend == "torch":
            _settle_torch(options.threads, not options.no_onednn)
        print(platform_line(options.backend))
        for path in sorted(options.files):
            container = open_container(path)
            model = models(options.device, container.header.model, backend=options.backend)
            symbols = symbols_hash(container, model)
            together.update(symbols.encode())
            pixels = decode_picture(container, model).pixels
            print(symbols[:16], f"mean {pixels.mean():8.4f}", os.fspath(path))
    except (ObicError, OSError) as error:
        print(error if isinstance(error, UsageError) else f"{path}: {error}", file=sys.stderr)
        return 1
    print(f"{together.hexdigest()[:16]} all {len(options.files)}")
    return 0


def _settle_torch(threads: int | None, onednn: bool) -> None:
    need_torch()
    import torch

    torch.set_num_threads(threads or torch.get_num_threads())
    torch.backends.mkldnn.enabled = onednn  # type: ignore[assignment] # typed as the property it is made of


if __name__ == "__main__":
    sys.exit(main())
