from obic.api import Codec as Codec
from obic.codec import PictureEncoder as PictureEncoder
from obic.codec import decode_picture as decode_picture
from obic.codec import encode_picture as encode_picture
from obic.codec import extract_picture as extract_picture
from obic.codec import layer_qualities as layer_qualities
from obic.codec import load_model as load_model
from obic.codec import load_segmenter as load_segmenter
from obic.container import open_container as open_container
from obic.errors import FormatError as FormatError
from obic.errors import LimitError as LimitError
from obic.errors import ObicError as ObicError
from obic.errors import UnsupportedError as UnsupportedError
from obic.errors import UsageError as UsageError
from obic.images import read_mask as read_mask
from obic.images import read_picture as read_picture
from obic.images import write_picture as write_picture

_default: Codec  # with whose methods' types the functions are known
encode = _default.encode
decode = _default.decode
extract = _default.extract
open = open_container
__version__: str
