"""The segmenter: its masks, and how well their edges follow the object."""
