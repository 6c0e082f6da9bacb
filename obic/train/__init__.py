"""Training of the networks. Needs PyTorch, numpy and Pillow only; nothing in the product imports
it."""

from obic.backends import has_torch

if not has_torch():
    raise SystemExit("error: training needs PyTorch: pip install 'obic[torch]'")
