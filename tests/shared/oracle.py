"""A second reader of `.obic` files, written from bitstream_spec.md alone: no obic, no msgpack, no
constriction.

Slow and strict on purpose. The tests hold it against the real one; where they differ, one of them
or the specification is wrong.
"""

import binascii
import zlib

import numpy as np

MASK64 = 2**64 - 1


def unpack(data, at=0):
    """One value of the part of msgpack that spec 3.2 uses, and the offset behind it."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    if first == 0xC0:
        return None, at + 1
    if first in (0xCC, 0xCD, 0xCE):
        size = {0xCC: 1, 0xCD: 2, 0xCE: 4}[first]
        return int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
    if first in (0xC4, 0xC5, 0xC6):
        size = 1 << (first - 0xC4)
        start = at + 1 + size
        length = int.from_bytes(data[at + 1 : start], "big")
        return data[start : start + length], start + length
    if first & 0xF0 == 0x90:
        count, at = first & 0x0F, at + 1
    else:
        assert first == 0xDC
        count, at = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
    items = []
    for _ in range(count):
        item, at = unpack(data, at)
        items.append(item)
    return items, at


def take_checked(data, at, length, start=None):
    """`length` bytes at `at` and the offset behind their checksum, which covers data[start : at +
    length]."""
    covered = data[at if start is None else start : at + length]
    if not covered:
        return b"", at
    if len(covered) < 32768:
        size, value = 2, binascii.crc_hqx(covered, 0xFFFF)
    else:
        size, value = 4, zlib.crc32(covered)
    end = at + length
    assert data[end : end + size] == value.to_bytes(size, "big")
    return data[at:end], end + size


def demux(data):
    """(header fields, {layer index: sub-stream or None}, {kind: part}) of a whole file (spec 3)."""
    assert data[:6] == b"\x8fob\r\n\x1a"
    length, at = unpack(data, 6)
    body, at = take_checked(data, at, length, start=0)
    fields, end = unpack(body)
    assert end == len(body) and fields[0] == 1
    n, has_parts = divmod(len(fields) - 5, 2)
    streams, parts = {}, {}
    for position, index in enumerate([*range(1, n), 0]):
        size = fields[6 + 2 * position]
        streams[index] = None
        if size is not None:
            streams[index], at = take_checked(data, at, size)
    listing = fields[-1] if has_parts else []
    for kind, place in zip(listing[::2], listing[1::2], strict=True):
        if isinstance(place, bytes):
            parts[kind] = place
        else:
            parts[kind], at = take_checked(data, at, place)
    assert at == len(data)
    return fields, streams, parts


class RangeDecoder:
    """Spec 5.1, in integers."""

    def __init__(self, data):
        self.data, self.at = data, 8
        self.lower, self.range = 0, MASK64
        self.point = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def symbol(self, counts):
        scale = self.range >> 24
        quantile = ((self.point - self.lower) & MASK64) // scale
        assert quantile < 2**24, "no writer makes this stream"
        left = symbol = 0
        while left + counts[symbol] <= quantile:
            left += counts[symbol]
            symbol += 1
        self.lower = (self.lower + scale * left) & MASK64
        self.range = scale * counts[symbol]
        if self.range < 2**32:
            word = int.from_bytes(self.data[self.at : self.at + 4].ljust(4, b"\0"), "big")
            self.at += 4
            self.lower = self.lower << 32 & MASK64
            self.range <<= 32
            self.point = (self.point << 32 | word) & MASK64
        return symbol

    def equal(self, size):
        return self.symbol([2**24 // size] * size)

    def number(self, size):
        value = 0
        for _ in range((size - 1).bit_length()):
            value = 2 * value + self.equal(2)
        return value

    def is_shortest(self):
        """Spec 5.1, "the end": the data is the shortest, then smallest, string in the final
        interval."""
        if self.range == MASK64:
            return self.data == b""
        if len(self.data) > self.at:
            return False
        value = int.from_bytes(self.data.ljust(self.at, b"\0"), "big")
        low = value - ((self.point - self.lower) & MASK64)
        for size in range(self.at + 1):
            unit = 256 ** (self.at - size)
            first = -(-low // unit)
            if first * unit < low + self.range:
                return self.data == first.to_bytes(size, "big")
        raise AssertionError


def label_map(data, height, width, n_layers, table):
    """Spec 4.3. `table`: the 1024 bytes of appendix B."""
    decoder = RangeDecoder(data)
    labels = np.zeros((height, width), np.uint8)
    mode = decoder.symbol([253 << 16, 1 << 16, 1 << 16, 1 << 16])
    if mode == 0:
        for label in range(1, n_layers):
            plane = np.zeros((height + 2, width + 4), int)
            for y in range(height):
                for x in range(width):
                    if labels[y, x] == 0:
                        template = [*plane[y, x + 1 : x + 4], *plane[y + 1, x : x + 5], *plane[y + 2, x : x + 2]]
                        context = int("".join(map(str, template)), 2)
                        one = table[context] << 16
                        if decoder.symbol([2**24 - one, one]):
                            plane[y + 2, x + 2] = 1
                            labels[y, x] = label
    elif mode == 1:
        for y in range(height):
            for x in range(width):
                labels[y, x] = decoder.number(n_layers)
    elif mode == 2:
        labels[:] = decoder.number(n_layers)
    else:
        label, top, left, bottom, right = map(decoder.number, (n_layers, height, width, height, width))
        labels[top : bottom + 1, left : right + 1] = label
    assert decoder.is_shortest()
    return labels


def pixel_mask(data, cells, height, width, table):
    """Spec 4.4, one pixel at a time, with a set of known pixels for each label."""
    assert data[0] == 0
    decoder = RangeDecoder(data[1:])
    ones, seen = [*table, 18, 61, 228], [256] * 1027

    def bit(context):
        p = max(1, min(4095, (4096 * ones[context] + seen[context] // 2) // seen[context]))
        value = decoder.symbol([2**24 - 4096 * p, 4096 * p])
        ones[context] += 32 * value
        seen[context] += 32
        return value

    h, w = cells.shape
    mixed = np.zeros((h, w), bool)
    for i, j in np.argwhere(cells > 0):
        other = {
            (di, dj): cells[min(max(i + di, 0), h - 1), min(max(j + dj, 0), w - 1)] != cells[i, j]
            for di in (-1, 0, 1)
            for dj in (-1, 0, 1)
        }
        sides = any(other[place] for place in ((-1, 0), (1, 0), (0, -1), (0, 1)))
        corners = any(other[place] for place in ((-1, -1), (-1, 1), (1, -1), (1, 1)))
        mixed[i, j] = bit(1026 if sides else 1025 if corners else 1024)
    places = [(y, x) for y in range(height) for x in range(width)]
    own = {(y, x): cells[y // 16, x // 16] for y, x in places if not mixed[y // 16, x // 16]}
    for y, x in places:
        if mixed[y // 16, x // 16]:
            label, context = cells[y // 16, x // 16], 0
            template = [(2, 1), (2, 0), (2, -1), (1, 2), (1, 1), (1, 0), (1, -1), (1, -2), (0, 2), (0, 1)]
            for up, back in template:
                context = 2 * context + (own.get((y - up, x - back)) == label)
            own[y, x] = label if bit(context) else 0
    assert decoder.is_shortest()
    return np.array([own[place] > 0 for place in places]).reshape(height, width)


def hidden_units(into, bias, z, quality):
    """Spec 6: the hidden units at one position, whose clipped z is given."""
    sums = [sum(int(factor) * value for factor, value in zip(row, z, strict=True)) for row in into]
    sums = [each + int(own) for each, own in zip(sums, bias[quality - 1], strict=True)]
    return [max(0, min(65535, each >> 4)) for each in sums]


def table_index(weight, bias, shift, z, quality, hidden=None):
    """Spec 6, one sum at a time. hidden: into_hidden, hidden_bias, from_hidden."""
    _, h4, w4 = z.shape
    index = np.zeros((len(weight) // 16, 4 * h4, 4 * w4), int)
    for i in range(h4):
        for j in range(w4):
            clipped = [max(-127, min(127, int(value))) for value in z[:, i, j]]
            units = [] if hidden is None else hidden_units(*hidden[:2], clipped, quality)
            for row in range(len(weight)):
                channel, place = divmod(row, 16)
                total = int(bias[quality - 1, channel])
                total += sum(int(factor) * value for factor, value in zip(weight[row], clipped, strict=True))
                if hidden is not None:
                    total += sum(int(factor) * unit for factor, unit in zip(hidden[2][row], units, strict=True)) >> 8
                index[channel, 4 * i + place // 4, 4 * j + place % 4] = max(0, min(63, total >> shift))
    return index


def values(decoder, places, rows, counts):
    """Spec 5.3: {place: value} for places in order, each with its table row."""
    result, escapes = {}, []
    for row in range(1, 64):
        for place, own in zip(places, rows, strict=True):
            if own == row:
                result[place] = decoder.symbol(counts[row]) - 64
                if result[place] == 65:
                    escapes.append(place)
    lengths = [decoder.equal(32) for _ in escapes]
    assert all(length <= 19 for length in lengths)
    negative = [decoder.equal(2) for _ in escapes]
    for place, length, sign in zip(escapes, lengths, negative, strict=True):
        excess = 1
        for _ in range(length):
            excess = 2 * excess + decoder.equal(2)
        result[place] = -(64 + excess) if sign else 64 + excess
    return result


def mean_of(z, place, done, offset, weight, shift):
    """Spec 5.4: the mean of channel k at (i, j). done: the positions that earlier passes coded."""
    k, i, j = place
    if weight is None:
        return offset[k]
    total = 0
    for m in range(len(z)):
        for a in range(3):
            for b in range(3):
                near = i + a - 1, j + b - 1
                if near in done:
                    deviation = max(-127, min(127, int(z[(m, *near)]) - int(offset[m])))
                    total += int(weight[k, 9 * m + 3 * a + b]) * deviation
    return offset[k] + ((total + 2 ** (shift - 1)) >> shift)


def layer(
    data, cells, quality, weight, bias, shift, z_index, z_offset, counts, z_weight=None, z_shift=None, hidden=None
):
    """Spec 5.4: (z, r) of one sub-stream. z_index: one table for each pass."""
    height, width = cells.shape
    counts = [[int(count) for count in row] for row in counts]
    decoder = RangeDecoder(data)
    z = np.zeros((weight.shape[1], -(-height // 4), -(-width // 4)), int)
    r = np.zeros((len(weight) // 16, height, width), int)
    owned = [(y, x) for y in range(height) for x in range(width) if cells[y, x]]
    touched = sorted({(y // 4, x // 4) for y, x in owned})
    done, offset = set(), z_offset[quality - 1]
    for number, rows in enumerate(z_index):
        corner = ((0, 0), (1, 1), (0, 1), (1, 0))[number]
        now = [(i, j) for i, j in touched if len(z_index) == 1 or (i % 2, j % 2) == corner]
        places = [(k, *position) for k in range(len(z)) for position in now]
        for place in places:
            z[place] = mean_of(z, place, done, offset, z_weight[number - 1] if number else None, z_shift)
        for place, value in values(decoder, places, [rows[quality - 1][k] for k, _, _ in places], counts).items():
            z[place] += value
        done |= set(now)
    index = table_index(weight, bias, shift, z, quality, hidden)
    places = [(c, *position) for c in range(len(r)) for position in owned]
    for place, value in values(decoder, places, [index[place] for place in places], counts).items():
        r[place] = value
    assert decoder.is_shortest()
    return z, r
