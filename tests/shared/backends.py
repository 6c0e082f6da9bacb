"""The backends that are installed."""

from obic.backends import has_torch

BACKENDS = ["numpy", "torch"] if has_torch() else ["numpy"]
