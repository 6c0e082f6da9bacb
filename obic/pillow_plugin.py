"""Room 4. `.obic` as a format of Pillow's: import this module, and `Image.open` and `Image.save`
know it.

The networks are loaded when pixels are first asked for. Frame 0 is the whole picture, frame 1 + i
the layer i alone.
"""

from __future__ import annotations

import mimetypes
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from obic.constants import MEDIA_TYPE, SIGNATURE
from obic.errors import FormatError, LimitError, ObicError, UnsupportedError

if TYPE_CHECKING:
    from obic.api import Codec

FORMAT = "OBIC"
METADATA = {"exif": "exif", "icc_profile": "icc", "xmp": "xmp"}  # Pillow's names and ours


def _codec() -> Codec:
    from obic.api import default_codec

    return default_codec()


class ObicImageFile(ImageFile.ImageFile):
    """An `.obic` file. `info["layer"]`: the name of the layer that the frame shows, None for the
    whole picture.

    Opening reads the header and the metadata. A frame that is not in the file, or damaged, raises
    OSError when it is loaded, and so do damaged metadata. A file with one layer is closed then; one
    with several when the image is.
    """

    format = FORMAT
    format_description = "Object-based image"
    fp: IO[bytes] | None = None  # from here on: of an image that was not opened, but unpickled or copied
    n_frames = 1
    is_animated = False
    _min_frame = _frame = 0

    def _open(self) -> None:
        from obic.container import open_container  # here: a program that opens no such file needs no msgpack
        from obic.metadata import metadata_of_file, pillow_info

        assert self.fp is not None  # or Pillow had not called this
        try:
            self._container = open_container(self.fp)
            metadata, _ = metadata_of_file(self._container, damaged="skip")
        except (FormatError, LimitError, UnsupportedError) as error:
            raise SyntaxError(str(error)) from error
        self._metadata = pillow_info(metadata)
        layers = self._container.header.n_layers
        self.n_frames = 1 if layers == 1 else 1 + layers
        self.is_animated = self.n_frames > 1
        self._show(0)

    def _show(self, frame: int) -> None:
        """Make everything what it was when the file was opened, but for the frame."""
        header = self._container.header
        whole = frame == 0 and all(layer.length is not None for layer in header.layers)
        self._frame = frame
        self._im = self.palette = None
        self._size, self._mode = (header.width, header.height), "RGB" if whole else "RGBA"
        for name, data in self._metadata.items():
            self.info[name] = data
        self.info["layer"] = header.layer_names[frame - 1] if frame else None
        self._reload_exif()

    def seek(self, frame: int) -> None:
        """Go to a frame: 0 for the whole picture, 1 + i for the layer i. Raises EOFError if there
        is none."""
        if self._seek_check(frame):
            self._show(frame)

    def tell(self) -> int:
        return self._frame

    def load(self) -> Any:
        """Decode the frame. Raises OSError if it cannot be decoded."""
        if self._im is None:
            try:
                image = self._decode()
            except ObicError as error:
                raise OSError(str(error)) from error
            self.im, self._mode, self.readonly = image.im, image.mode, 0
            if not self.is_animated:
                if self.fp is not None and self._exclusive_fp and self._close_exclusive_fp_after_loading:
                    self.fp.close()
                self.fp = None
        return Image.Image.load(self)

    def verify(self) -> None:
        """Check structure and checksums, without a network. Raises OSError for damage. The file is
        closed then."""
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        damage = [check.error for check in self._container.verify() if check.error]
        super().verify()
        if damage:
            raise OSError(str(damage[0]))

    def _decode(self) -> Image.Image:
        if self._frame:
            return _codec().extract(self._container, self._frame - 1)
        return _codec().decode(self._container)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """`save(..., quality=60, bpp=..., size=..., ...)`: the options of `obic.encode`.

    exif=, icc_profile= and xmp= are kept; those that the image brings along are not. Raises as
    `obic.encode` does.
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
Image.register_mime(FORMAT, MEDIA_TYPE)
mimetypes.add_type(MEDIA_TYPE, ".obic")
