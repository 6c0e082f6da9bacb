"""Training of the networks. Needs torch, torchvision, numpy and Pillow only; nothing in the product imports it."""
