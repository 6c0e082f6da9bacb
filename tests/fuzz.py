"""The fuzzer: `make fuzz`, 10 minutes of hostile files. ARGS: options of libFuzzer
(-max_total_time=60), or a finding.

Its first byte makes an input one of `fuzz_targets.TARGETS`. Any exception but ObicError, ten
seconds for one input, or a gigabyte of memory more than at the start, ends the run, and the input
stays in build/fuzz to be run again.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["obic"]):
    from broken.make import HERE
    from obic.errors import ObicError
    from shared import fuzz_targets

FOLDER = Path("build/fuzz")
MEMORY = 1 << 30


def one_input(data: bytes) -> None:
    choices = fuzz_targets.Choices(data)
    target = choices.one_of(fuzz_targets.TARGETS)
    with contextlib.suppress(ObicError):
        target(choices)


def main() -> None:
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    container = bytes([fuzz_targets.TARGETS.index(fuzz_targets.container)])
    for path in [*fuzz_targets.FILES, *HERE.glob("*.obic")]:
        (corpus / path.stem).write_bytes(container + path.read_bytes())
    fuzz_targets.model()
    silence = os.open(os.devnull, os.O_WRONLY)
    sys.stdout = sys.stderr = os.fdopen(silence, "w")  # of the commands; libFuzzer has its own way to the terminal
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    options = ["-max_total_time=600", "-timeout=10", "-max_len=2000", "-len_control=0", "-rss_limit_mb=0"]
    inputs = [] if any(not argument.startswith("-") for argument in sys.argv[1:]) else [str(corpus)]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={FOLDER}/", *sys.argv[1:], *inputs], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
