"""What a golden file decodes to."""

import io

import numpy as np
from PIL import Image

from obic import codec
from obic.container import open_container
from obic.weights import CodecModel


def decoded_png(data: bytes, model: CodecModel) -> bytes:
    decoded = codec.decode_picture(open_container(data), model)
    planes = decoded.rgb if decoded.alpha is None else np.dstack([decoded.rgb, decoded.alpha])
    buffer = io.BytesIO()
    Image.fromarray(planes).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
