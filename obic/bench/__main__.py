"""`python -m obic.bench`: short for `python -m obic.bench.rivals`, obic beside other codecs."""

from obic.bench.rivals.__main__ import run_command

if __name__ == "__main__":
    run_command()
