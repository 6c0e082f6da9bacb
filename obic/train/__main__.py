"""`python -m obic.train`: trains the codec network. The segmenter: `python -m obic.train.segmenter`."""

from obic.train.codec import main

if __name__ == "__main__":
    main()
