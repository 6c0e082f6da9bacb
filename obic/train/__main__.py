"""`python -m obic.train`: short for `python -m obic.train.codec`, a sitting of the codec network's
course."""

from obic.train.codec.__main__ import main

if __name__ == "__main__":
    main()
