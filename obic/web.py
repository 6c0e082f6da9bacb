"""Room 4. Models as the decoder for browsers wants them: `python -m obic.web FOLDER`. numpy alone,
no networks.

A model file has the decoder's arrays of a file of weights as they are, so nothing is lost, one
behind the other, so that a browser need not unpack them; `web/src/model.ts` says how. A look is a
file of its own.
"""

import argparse
import io
import json
import struct
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from obic.errors import ObicError, UnsupportedError
from obic.weights import ENCODER, MANIFEST, folders

MAGIC = b"OBICMODEL1\0\0"
ALIGNMENT = 8


def site_folder() -> Path:
    """The built viewer: inside an installed package, or in a checkout. Raises ObicError if it is
    not built."""
    package = Path(__file__).parent
    for folder in (package / "_site", package.parent / "web" / "site"):
        if (folder / "index.html").is_file():
            return folder
    raise ObicError("the viewer is not built: run `make web` in a checkout (it needs Node), and install obic from it")


def models_in(folder: Path) -> dict[str, Callable[[], bytes]]:
    """The model files for the codecs in a folder of weights, and for their looks: each by its name,
    made when called.

    Raises OSError where a file is missing.
    """
    found: dict[str, Callable[[], bytes]] = {}
    for entry in json.loads((folder / MANIFEST).read_text())["codecs"]:
        about = {"fingerprint": entry["fingerprint"], "look": "faithful", "shape": entry["shape"]}
        found[model_name(**about)] = partial(_model_file, about, folder / entry["file"], "")
        for look, its in entry.get("looks", {}).items():
            other = {**about, "look": look}
            found[model_name(**other)] = partial(_model_file, other, folder / its["file"], "network.synthesis.")
    return found


def model_of(fingerprint: int) -> bytes:
    """The model file of a codec. Raises UnsupportedError if no folder of weights has it."""
    name = model_name(f"{fingerprint:08x}", "faithful")
    for folder in folders():
        if make := models_in(folder).get(name):
            return make()
    raise UnsupportedError(f"model {fingerprint:08x} is not here: name a folder with its weights in OBIC_WEIGHTS")


def embedded_decoder(models: Iterable[bytes]) -> str:
    """The scripts that let a page without a network show elements <obic-img>. Raises ObicError as
    `site_folder`."""
    site = site_folder()
    worker, live = ((site / name).read_text("utf-8") for name in ("live-worker.js", "live.js"))
    parts = [f'<script type="text/plain" id="obic-worker">{worker}</script>']
    parts += [f'<script type="text/plain" class="obic-model">{b64encode(data).decode()}</script>' for data in models]
    return "\n".join([*parts, f'<script type="module">{live}</script>'])


def model_name(fingerprint: str, look: str, **_: object) -> str:
    """The name under which a reader looks for a model."""
    return f"model-{fingerprint}.bin" if look == "faithful" else f"model-{fingerprint}-{look}.bin"


def model_bytes(about: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A model file. about: its fingerprint, look and shape."""
    listed, blobs, size = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        listed[name] = {"type": data.dtype.str, "shape": data.shape, "offset": size}
        blobs.append(data.tobytes() + bytes(-data.nbytes % ALIGNMENT))
        size += len(blobs[-1])
    text = json.dumps({**about, "arrays": listed}, separators=(",", ":")).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % ALIGNMENT)
    whole = MAGIC + struct.pack("<I", len(text)) + text + b"".join(blobs)
    return whole + struct.pack("<I", zlib.crc32(whole))


def _model_file(about: Mapping[str, object], path: Path, prefix: str) -> bytes:
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        names = [name for name in archive.files if not name.startswith(ENCODER)]
        return model_bytes(about, {prefix + name: archive[name] for name in names})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m obic.web", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of weights, with its manifest.json")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the model files go")
    options = parser.parse_args(argv)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, make in models_in(options.folder).items():
            data = make()
            (options.out / name).write_bytes(data)
            print(f"{options.out / name}: {len(data):,} bytes")
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
