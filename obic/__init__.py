"""obic: an object-based learned image codec.

Importing this package is cheap: numpy, torch and the networks are loaded when a name that needs
them is first used. Where Pillow is loaded too, before or after, it opens and saves `.obic` files.
"""

from importlib import import_module

from obic.pillow_watch import watch

__version__ = "0.1.0"

_HOMES = {  # the module of each public name; `__init__.pyi` says the same to type checkers
    "FormatError": "errors",
    "LimitError": "errors",
    "ObicError": "errors",
    "UnsupportedError": "errors",
    "UsageError": "errors",
    "Codec": "api",
    "decode": "api",
    "encode": "api",
    "extract": "api",
    "open": "container:open_container",
    "open_container": "container",
    "read_mask": "images",
    "read_picture": "images",
    "write_picture": "images",
    "PictureEncoder": "codec",
    "decode_picture": "codec",
    "encode_picture": "codec",
    "extract_picture": "codec",
    "layer_qualities": "codec",
    "load_model": "codec",
    "load_segmenter": "codec",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


watch()
