"""Room 0. The numbers of the format. Each one cites its section of `bitstream_spec.md`."""

# The container (spec 3).
SIGNATURE = b"\x8fob\r\n\x1a"  # spec 3.1: a high bit, CR LF and ^Z betray a transfer in text mode
MEDIA_TYPE = "image/vnd.obic"  # spec 15
VERSION = 1  # spec 3.2
MAX_SIDE = 2**24 - 1  # spec 3.2: pixels
MAX_LAYERS = 255  # spec 3.2: a label is one byte, and 255 means void in a mask given by the user
MAX_STREAM_BYTES = 2**32 - 1  # spec 3.2: of one sub-stream or one optional part
MAX_MODEL = 2**32 - 1  # spec 3.2: a fingerprint is 32 bits
MIN_QUALITY, MAX_QUALITY = 1, 100  # spec 3.2
LONG_STREAM = 32 * 1024  # spec 3.4: from this many bytes on, a checksum has 32 bits instead of 16

# Optional parts (spec 3.5). From FIRST_CRITICAL on, a reader that does not know the kind must give
# up.
PART_NAMES, PART_ICC, PART_EXIF, PART_XMP, PART_PIXEL_MASK = 1, 2, 3, 4, 5
FIRST_CRITICAL = 64
MAX_PART_KIND = 127
MAX_NAME_BYTES = 63

# The grid (spec 4).
CELL = 16  # spec 4.1: pixels along a side of a cell
HYPER = 4  # spec 4.1: cells along a side of a hyper-latent position
OBJECT_COVERAGE = 0.25  # spec 4.2 (for writers): an object owns a cell when it covers this much of its pixels
MAX_PLANE_CELLS = 2**24  # spec 4.3: cells times planes of a coded label map; a bound on a reader's work
MAX_MASK_PIXELS = 2**22  # spec 4.4: in mixed cells of a pixel mask; the same

# Entropy coding (spec 5).
PRECISION = 24  # spec 5.1: counts of a table row sum to 2**PRECISION
TABLE_ROWS = 64  # spec 5.2: row 0 means "skipped"
MAX_SYMBOL = 64  # spec 5.2: symbols -64..64, then the escape
ESCAPE = MAX_SYMBOL + 1
TABLE_SYMBOLS = 2 * MAX_SYMBOL + 2
MIN_SCALE, MAX_SCALE = 0.11, 32.0  # of rows 1..63, log-spaced (informative: files of weights store the counts)
ESCAPE_LENGTHS = 32  # spec 5.3: the alphabet of an escape's bit count
MAX_ESCAPE_BITS = 19  # spec 5.3: larger counts are invalid
MAX_MAGNITUDE = MAX_SYMBOL + 2 ** (MAX_ESCAPE_BITS + 1) - 1
HYPER_ORDER = ((0, 0), (1, 1), (0, 1), (1, 0))  # spec 5.4: row and column of each pass over z in 2x2 positions
MAX_HYPER_SHIFT = 2**16  # spec 5.4: of a mean, from its offset
HYPER_CLAMP = 127  # spec 6: z is clamped to +-127 at the input of the scale map
HIDDEN_SHIFT, HIDDEN_BITS = 4, 8  # spec 6: of a hidden unit's sum, and of the fraction that is left in the unit
MAX_HIDDEN = 2**16 - 1  # spec 6
