"""Room 4. `.obic` as a format of Pillow's: import this module, and `Image.open` and `Image.save` know it.

The networks are loaded when pixels are first asked for. Frame 0 is the whole picture, frame 1 + i the layer i alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from PIL import Image, ImageFile

from obic.constants import SIGNATURE
from obic.errors import FormatError, LimitError, ObicError, UnsupportedError

if TYPE_CHECKING:
    from obic.api import Codec

FORMAT = "OBIC"
METADATA = {"exif": "exif", "icc_profile": "icc", "xmp": "xmp"}  # Pillow's names and ours


def _codec() -> Codec:
    from obic.api import default_codec

    return default_codec()


class ObicImageFile(ImageFile.ImageFile):
    """An `.obic` file. `info["layer"]`: the name of the layer that the frame shows, None for the whole picture.

    Opening reads the header. A frame that is not in the file, or damaged, raises OSError when it is loaded.
    """

    format = FORMAT
    format_description = "Object-based image"

    def _open(self) -> None:
        from obic.container import open_container  # whoever opens no such file needs no msgpack

        try:
            self._container = open_container(self.fp)
        except (FormatError, LimitError, UnsupportedError) as error:
            raise SyntaxError(str(error)) from error
        header = self._container.header
        self._size = header.width, header.height
        self.n_frames = 1 if header.n_layers == 1 else 1 + header.n_layers
        self.is_animated = self.n_frames > 1
        self._frame = 0
        self._show(0)

    def _show(self, frame: int) -> None:
        header = self._container.header
        self._frame = frame
        self._loaded = False
        self.info["layer"] = header.layer_names[frame - 1] if frame else None
        whole = frame == 0 and all(layer.length is not None for layer in header.layers)
        self._mode = "RGB" if whole else "RGBA"

    def seek(self, frame: int) -> None:
        """Go to a frame: 0 for the whole picture, 1 + i for the layer i. Raises EOFError if there is none."""
        if self._seek_check(frame):
            self._show(frame)

    def tell(self) -> int:
        return self._frame

    def load(self):
        """Decode the frame. Raises OSError if it cannot be decoded."""
        if not self._loaded:
            try:
                image = self._decode()
            except ObicError as error:
                raise OSError(str(error)) from error
            self.im, self._mode = image.im, image.mode
            self.info.update(image.info)
            self._loaded = True
        return Image.Image.load(self)

    def _decode(self) -> Image.Image:
        if self._frame:
            return _codec().extract(self._container, self._frame - 1)
        return _codec().decode(self._container)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(image: Image.Image, file: BinaryIO, filename: str | bytes) -> None:
    """`save(..., quality=60, bpp=..., size=..., ...)`: the options of `obic.encode`.

    exif=, icc_profile= and xmp= are kept; those that the image brings along are not. Raises as `obic.encode` does.
    """
    options = dict(image.encoderinfo)
    picture, kinds = image.copy(), []
    for name, kind in METADATA.items():
        if data := options.pop(name, None):
            picture.info[name] = data.tobytes() if isinstance(data, Image.Exif) else data
            kinds.append(kind)
    file.write(_codec().encode(picture, metadata=",".join(kinds) or "none", **options))


Image.register_open(FORMAT, ObicImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".obic")
Image.register_mime(FORMAT, "image/x-obic")
