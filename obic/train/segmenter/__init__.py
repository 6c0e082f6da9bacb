"""The segmenter: from ImageNet's weights to a file of weights."""
