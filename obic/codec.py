"""Room 4. The codec as functions over arrays, put together from encoder, decoder and networks."""

from obic.decoder import Decoded, decode_picture, decode_pictures, decode_symbols, extract_picture
from obic.encoder import PictureEncoder, analyse_pictures, encode_picture
from obic.networks import load_model, load_segmenter
from obic.rate import DEFAULT_QUALITY, layer_qualities

__all__ = [
    "DEFAULT_QUALITY",
    "Decoded",
    "PictureEncoder",
    "analyse_pictures",
    "decode_picture",
    "decode_pictures",
    "decode_symbols",
    "encode_picture",
    "extract_picture",
    "layer_qualities",
    "load_model",
    "load_segmenter",
]
