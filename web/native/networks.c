// The pieces of the networks (spec 8.1). Features lie channels last, [places, channels], so that a 1x1 convolution is a
// product of matrices. Vectors are the compiler's: built without SIMD they become single numbers.
typedef float V __attribute__((ext_vector_type(4)));
typedef float Unaligned __attribute__((ext_vector_type(4), aligned(4)));
typedef int I __attribute__((ext_vector_type(4)));
#define EXPORT(name) __attribute__((export_name(#name)))
#define LOAD(p) (*(const Unaligned *)(p))

extern unsigned char __heap_base[];
EXPORT(heap) unsigned char *heap(void) { return __heap_base; }

static inline V all(float x) { return (V){x, x, x, x}; }

static inline V sigmoid(V x) { // 1 / (1 + 2^t); 2^t as a power of two times a polynomial on -0.5..0.5
  V t = x * -1.44269504f;
  t = t < -126.0f ? all(-126) : t;
  t = t > 126.0f ? all(126) : t;
  V whole = __builtin_elementwise_roundeven(t), part = t - whole;
  V power = all(1.54035304e-4f);
  power = power * part + 1.33335581e-3f;
  power = power * part + 9.61812911e-3f;
  power = power * part + 5.55041087e-2f;
  power = power * part + 2.40226507e-1f;
  power = power * part + 6.93147181e-1f;
  power = power * part + 1;
  I exponent = (__builtin_convertvector(whole, I) + 127) << 23;
  return 1.0f / (1.0f + power * *(V *)&exponent);
}

static inline void store(float *y, V v, int n) { // the first n of the vector
  if (n >= 4) *(Unaligned *)y = v;
  else for (int i = 0; i < n; i++) y[i] = v[i];
}

static inline V fetch(const float *y, int n) {
  if (n >= 4) return LOAD(y);
  V v = all(0);
  for (int i = 0; i < n; i++) v[i] = y[i];
  return v;
}

enum { STORE, SILU, ADD, GLU };
// Eight sums and what they need stay in registers in V8, twelve do not: 19 and 12 GMAC/s. A chunk of x fits in a cache.
enum { ROWS = 4, CHUNK = 96 };

// Eight outputs of up to ROWS places. n: how many of them there are, for GLU of the four.
static inline __attribute__((always_inline)) void tile(const float *x, int rows, int K, const float *w, const float *b,
                                                       const float *scale, float *y, int stride, int n, int mode) {
  V left[ROWS], right[ROWS];
  const float *from[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) left[r] = right[r] = all(0), from[r] = x + (long)(r < rows ? r : rows - 1) * K;
  for (int k = 0; k < K; k++, w += 8) {
    V w0 = LOAD(w), w1 = LOAD(w + 4);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      V s = all(from[r][k]);
      left[r] += s * w0, right[r] += s * w1;
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (r >= rows) break;
    V s = all(scale ? scale[r] : 1.0f), a = left[r] * s + LOAD(b), c = right[r] * s + LOAD(b + 4);
    if (mode == GLU) store(y, a * sigmoid(c), n);
    else {
      if (mode == SILU) a *= sigmoid(a), c *= sigmoid(c);
      if (mode == ADD) a += fetch(y, n), c += fetch(y + 4, n - 4);
      store(y, a, n), store(y + 4, c, n - 4);
    }
    y += stride;
  }
}

// y[P, N] = scale[P] * x[P, K] w + b, then stored, through SiLU, added to y, or a gated linear unit. scale: or none.
// w: [panels, K, 8], a panel for eight outputs; of a gated unit for four, their four gates behind them. b: [panels, 8].
EXPORT(linear)
void linear(const float *x, int P, int K, const float *w, const float *b, const float *scale, float *y, int N, int mode) {
  int wide = mode == GLU ? 4 : 8;
  for (int start = 0; start < P; start += CHUNK) {
    int stop = start + CHUNK < P ? start + CHUNK : P;
    for (int n = 0; n < N; n += wide)
      for (int p = start; p < stop; p += ROWS)
        tile(x + (long)p * K, stop - p < ROWS ? stop - p : ROWS, K, w + (long)n / wide * K * 8, b + n / wide * 8,
             scale ? scale + p : 0, y + (long)p * N + n, N, N - n, mode);
  }
}

// scale[P] = 1 / sqrt(1 + g mean(x^2)) of x[P, C], the mean over the channels
EXPORT(damping) void damping(const float *x, int P, int C, float g, float *scale) {
  for (int p = 0; p < P; p++, x += C) {
    V sums = all(0);
    for (int c = 0; c < C; c += 4) {
      V v = fetch(x + c, C - c);
      sums += v * v;
    }
    scale[p] = 1.0f / __builtin_sqrtf(1.0f + g * (sums[0] + sums[1] + sums[2] + sums[3]) / C);
  }
}

// A 3x3 convolution of each channel of x[h, w, C], zeros beyond the border. weight: [9, C]
EXPORT(depthwise) void depthwise(const float *x, int h, int w, int C, const float *weight, const float *b, float *y) {
  for (int i = 0; i < h; i++)
    for (int j = 0; j < w; j++, y += C) {
      const float *from[9], *by[9];
      int taps = 0;
      for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
          if (i + dy >= 0 && i + dy < h && j + dx >= 0 && j + dx < w) {
            from[taps] = x + ((long)(i + dy) * w + j + dx) * C;
            by[taps++] = weight + (3 * dy + dx + 4) * C;
          }
      for (int c = 0; c < C; c += 4) {
        V sum = fetch(b + c, C - c);
        if (taps == 9 && C - c >= 4) {
#pragma unroll
          for (int t = 0; t < 9; t++) sum += LOAD(from[t] + c) * LOAD(by[t] + c);
        } else {
          for (int t = 0; t < taps; t++) sum += fetch(from[t] + c, C - c) * fetch(by[t] + c, C - c);
        }
        store(y + c, sum, C - c);
      }
    }
}

// Depth to space: [h, w, f, f, C] -> [f h, f w, C]
EXPORT(shuffle) void shuffle(const float *x, int h, int w, int f, int C, float *y) {
  for (int i = 0; i < h; i++)
    for (int j = 0; j < w; j++)
      for (int dy = 0; dy < f; dy++) {
        float *to = y + ((long)(i * f + dy) * w + j) * f * C;
        for (int k = 0; k < f * C; k += 4) store(to + k, fetch(x + k, f * C - k), f * C - k);
        x += f * C;
      }
}

// The same for three channels in -0.5..0.5, to bytes: [h, w, f, f, 3] -> [f h, f w, 4], opaque
EXPORT(pixels) void pixels(const float *x, int h, int w, int f, unsigned char *y) {
  for (int i = 0; i < h; i++)
    for (int j = 0; j < w; j++)
      for (int dy = 0; dy < f; dy++) {
        unsigned char *to = y + ((long)(i * f + dy) * w + j) * f * 4;
        for (int dx = 0; dx < f; dx++, x += 3, to += 4) {
          for (int k = 0; k < 3; k++) {
            float v = (x[k] + 0.5f) * 255.0f;
            to[k] = v > 0 ? v < 255 ? (unsigned char)__builtin_roundevenf(v) : 255 : 0;
          }
          to[3] = 255;
        }
      }
}
