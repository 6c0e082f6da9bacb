"""Makes a new set of golden files: `python tests/golden/make.py v3 [v2]`. It never touches a set
that is there.

A set is a folder of weights with one tiny model, files made with it, `expected.json` with the hash
of each file's symbols, and the decoded pictures. The model is trained for a moment on the example
pictures, or has the network of the older set that is named, with an entropy model fitted anew.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from decoded import decoded_png
from PIL import Image

from obic import codec
from obic.bench.codec.exactness import symbols_hash
from obic.container import open_container
from obic.shape import Shape
from obic.train.codec.checkpoint import Places, new_network
from obic.train.codec.course import Course, Log, train
from obic.train.codec.crops import Batches
from obic.train.codec.loss import MSE_UNTIL
from obic.train.codec.weights_file import packed_codec
from obic.train.common.data import load_samples
from obic.train.common.manifest import write_codec
from obic.weights import CodecModel

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
TINY = Shape(
    fine=24, fine_blocks=1, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32,
    context_blocks=1, levels=4, damped=False, scale_hidden=16,
)  # fmt: skip


def tiny_model(folder: Path, older: Path | None) -> CodecModel:
    torch.manual_seed(1)
    samples = load_samples([EXAMPLES], long_side=400)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = older or Path(scratch) / "tiny.pt"
        if not older:
            batches = Batches(samples, 256, 2, "cpu", 1)
            log = Log(crops=MSE_UNTIL, decay_from=MSE_UNTIL, decay_crops=4_000, muon_lr=0.005, adam_lr=0.002)
            train(Course(new_network(TINY), batches, log), Places(checkpoint), minutes=10)
        data, model, sizes = packed_codec(checkpoint, samples, 40, seed=2)
    name = f"{model.fingerprint:08x}"
    write_codec(folder, data, {
        "fingerprint": name, "file": f"codec-{name}.npz", "sha256": hashlib.sha256(data).hexdigest(),
        "shape": TINY.as_dict(), "parameters": sizes, "training": {"on": "the example pictures, for tests alone"},
    })  # fmt: skip
    return model


def files(model: CodecModel) -> dict[str, bytes]:
    """Small files of every kind the format has."""
    picture = np.asarray(Image.open(EXAMPLES / "astronaut.png").convert("RGB").resize((128, 128)))
    y, x = np.mgrid[:128, :128]
    disc = (np.hypot(y - 60, x - 60) < 36).astype(np.uint8)
    quarters = ((y > 64) * 2 + (x > 50) + 1).astype(np.uint8) * (np.hypot(y - 64, x - 64) < 56)

    def encode(labels, n_layers, qualities, window=np.s_[:, :]):
        labels = None if labels is None else labels[window]
        return codec.encode_picture(picture[window], labels, n_layers, qualities=qualities, model=model)

    two = encode(disc, 2, (20, 70))
    names = ("backdrop", "left above", "right above", "left below", "right below")
    ragged = codec.PictureEncoder(picture, quarters, 5, model=model, names=names, pixel_alpha=True)
    return {
        "one-layer": encode(None, 1, (50,)),
        "two-layers": two,
        "five-layers": encode(quarters, 5, (10, 90, 30, 60, 45)),
        "empty-object": encode(disc * 0, 2, (40, 80)),
        "object-everywhere": encode(disc * 0 + 1, 2, (40, 80)),
        "object-alone": open_container(two).subset([1]),
        "highest-quality": encode(disc, 2, (100, 100)),
        "lowest-quality": encode(disc, 2, (1, 1)),
        "odd-size": encode(disc, 2, (50, 50), np.s_[:37, 20:73]),
        "one-pixel": encode(None, 1, (50,), np.s_[:1, :1]),
        "pixel-mask": open_container(ragged.encode((10, 50, 50, 50, 50))).subset([1, 4]),
        "one-row": encode(disc, 2, (50, 60), np.s_[60:61, :100]),
    }


def main() -> None:
    folder = HERE / sys.argv[1]
    folder.mkdir()  # fails if the set is there: golden files are never made again
    model = tiny_model(folder, HERE / sys.argv[2] if len(sys.argv) > 2 else None)
    expected = {}
    for name, data in files(model).items():
        (folder / f"{name}.obic").write_bytes(data)
        (folder / f"{name}.png").write_bytes(decoded_png(data, model))
        expected[name] = symbols_hash(open_container(data), model)
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
