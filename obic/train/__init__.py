"""Training of the networks. Needs torch, numpy and Pillow only; nothing in the product imports it."""
