// The range decoder of an .obic stream (spec 5.1): 64-bit integers, which JavaScript lacks. One instance, one stream.
typedef unsigned long long u64;
typedef unsigned int u32;
#define EXPORT(name) __attribute__((export_name(#name)))

enum { PRECISION = 24, ROWS = 64, SYMBOLS = 130 };

static u64 lower, range, point;
static u32 at, length;
static u32 sums[ROWS][SYMBOLS + 1]; // of each row: the sum of the counts below a symbol
extern unsigned char __heap_base[]; // the stream

EXPORT(sums) u32 *sums_at(void) { return &sums[0][0]; }
EXPORT(stream) unsigned char *stream_at(void) { return __heap_base; }

static u64 word(void) { // behind the end come zeros
  u32 value = 0;
  for (int i = 0; i < 4; i++, at++) value = value << 8 | (at < length ? __heap_base[at] : 0);
  return value;
}

EXPORT(start) void start(u32 bytes) {
  length = bytes, at = 0, lower = 0, range = ~0ull;
  point = word() << 32;
  point |= word();
}

static u64 scaled(void) { return (point - lower) / (range >> PRECISION); } // at least 2^24: the stream is invalid

static void take(u32 left, u32 count) {
  u64 scale = range >> PRECISION;
  lower += scale * left;
  range = scale * count;
  if (range >> 32 == 0) {
    lower <<= 32, range <<= 32;
    point = point << 32 | word();
  }
}

// Each gives the next symbol, or -1 where the stream is invalid.
EXPORT(symbol) int symbol(u32 row) {
  u64 place = scaled();
  if (place >> PRECISION) return -1;
  const u32 *sum = sums[row];
  int low = 0, high = SYMBOLS;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (sum[middle] <= place) low = middle; else high = middle;
  }
  take(sum[low], sum[low + 1] - sum[low]);
  return low;
}

EXPORT(bit) int bit(u32 one) { // `one`: the count of a 1
  u64 place = scaled();
  if (place >> PRECISION) return -1;
  u32 zero = (1u << PRECISION) - one;
  int result = place >= zero;
  take(result ? zero : 0, result ? one : zero);
  return result;
}

EXPORT(uniform) int uniform(u32 bits) {
  u64 place = scaled();
  if (place >> PRECISION) return -1;
  u32 result = (u32)place >> (PRECISION - bits);
  take(result << (PRECISION - bits), 1u << (PRECISION - bits));
  return (int)result;
}

// What the end of a stream is checked with.
EXPORT(read) u32 read_bytes(void) { return at; }
EXPORT(value) u64 value(void) { return point; }
EXPORT(above) u64 above(void) { return point - lower; }
EXPORT(width) u64 width(void) { return range; }
