// The errors of the specification (section 11), by the names of the reference implementation.

export class ObicError extends Error {
  override readonly name: string = "ObicError";
}

/** The caller asked for something that does not fit: an unknown layer, an impossible option. */
export class UsageError extends ObicError {
  override readonly name = "UsageError";
}

/** The file is not a valid `.obic`, or is damaged. */
export class FormatError extends ObicError {
  override readonly name: string = "FormatError";
}

/** The file does not begin with the signature. */
export class NotObicError extends FormatError {
  override readonly name = "NotObicError";
}

/** The file ends before a part that its header promises. */
export class TruncatedError extends FormatError {
  override readonly name = "TruncatedError";
}

/** A checksum does not match the bytes before it. */
export class ChecksumError extends FormatError {
  override readonly name = "ChecksumError";
}

/** The header's bytes are intact, but what they say is not allowed. */
export class HeaderError extends FormatError {
  override readonly name = "HeaderError";
}

/** The file is valid, but needs a version, a model or a critical part that is not here. */
export class UnsupportedError extends ObicError {
  override readonly name = "UnsupportedError";
}

/** The file is over a limit, which the caller can raise. */
export class LimitError extends ObicError {
  override readonly name = "LimitError";
}

const CLASSES = [
  UsageError, FormatError, NotObicError, TruncatedError, ChecksumError, HeaderError, UnsupportedError, LimitError,
];

/** An error as it was on the other side of a worker. */
export function revived(error: { name: string; message: string }): Error {
  for (const Kind of CLASSES) {
    const own = new Kind(error.message);
    if (own.name === error.name) return own;
  }
  return new ObicError(error.message);
}
