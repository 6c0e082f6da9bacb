"""Room 0. The exceptions of obic, one branch for each party that can be at fault.

    ObicError                   failed                                                  exit code 1
    ├── UsageError              the caller: an unknown layer, a mask of the wrong size              2
    ├── FormatError             the file: not valid, or damaged                                     3
    │   ├── NotObicError        it does not begin with the signature
    │   ├── TruncatedError      it ends too early
    │   ├── ChecksumError       its bytes are not those that were written
    │   └── HeaderError         its header says something impossible
    ├── UnsupportedError        this build: a version, a model or a critical part it lacks          4
    └── LimitError              a limit, which the caller can raise                                 5

A message is one line: what is wrong, where, and what to do about it where that is not plain.
`OSError` passes through untouched.
"""


class ObicError(Exception):
    """The base of every error obic raises on purpose."""

    exit_code = 1


class UsageError(ObicError):
    """The caller asked for something that does not fit: an unknown layer, a wrong shape, an
    impossible option."""

    exit_code = 2


class FormatError(ObicError):
    """The file is not a valid `.obic`, or is damaged.

    `offset`: bytes from the start of the file, or None. `section`: a few words such as "layer 1",
    or None.
    """

    exit_code = 3

    def __init__(self, message: str, *, offset: int | None = None, section: str | None = None):
        place = ", ".join(part for part in (section, None if offset is None else f"byte {offset}") if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
        self.offset = offset
        self.section = section


class NotObicError(FormatError):
    """The file does not begin with the signature."""


class TruncatedError(FormatError):
    """The file ends before a part that its header promises."""


class ChecksumError(FormatError):
    """A checksum does not match the bytes before it."""


class HeaderError(FormatError):
    """The header's bytes are intact, but what they say is not allowed."""


class UnsupportedError(ObicError):
    """The file is valid, but needs a version, a model or a critical part that this build lacks."""

    exit_code = 4


class LimitError(ObicError):
    """The file is over a limit. Raised before anything is allocated; the caller can raise the
    limit."""

    exit_code = 5
