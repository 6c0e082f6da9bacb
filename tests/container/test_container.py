"""The container: what goes in comes out, nothing else is read, and nothing damaged passes."""

import contextlib
import io

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic import constants
from obic.container import BytesSource, Limits, PipeSource, default_names, mux, open_container
from obic.container.header import checksum
from obic.errors import (
    ChecksumError,
    FormatError,
    HeaderError,
    LimitError,
    NotObicError,
    ObicError,
    TruncatedError,
    UnsupportedError,
    UsageError,
)
from shared import oracle


class CountingSource(BytesSource):
    """Remembers every range that is read."""

    def __init__(self, data):
        super().__init__(data)
        self.ranges = []

    def read_at(self, offset, length):
        self.ranges.append((offset, length))
        return super().read_at(offset, length)


def two_layers(**changes):
    fields = {
        "width": 768,
        "height": 512,
        "model": 0xDEADBEEF,
        "mask": b"m" * 11,
        "qualities": (30, 50),
        "streams": {0: b"b" * 3000, 1: b"o" * 4000},
    }
    return mux(**{**fields, **changes})


def small(**changes):
    return two_layers(**{"mask": b"mask", "streams": {0: b"background", 1: b"object"}, **changes})


def read_everything(data):
    container = open_container(data)
    for entry in container.header.layers:
        if entry.length is not None:
            container.read_layer(entry.index)
    for part in container.header.parts:
        container.read_part(part.kind)
    container.check_end()
    return container


def with_fields(fields):
    """A file with any header fields and a checksum that is right."""
    body = msgpack.packb(fields)
    covered = constants.SIGNATURE + msgpack.packb(len(body)) + body
    return covered + checksum(covered)


def test_overhead_of_two_layers_is_at_most_36_bytes():
    container = open_container(two_layers())
    assert container.overhead_bytes <= 36
    assert (container.mask_bytes, container.optional_bytes) == (11, 0)


layers_strategy = st.lists(
    st.tuples(st.integers(1, 100), st.one_of(st.none(), st.binary(max_size=300))), min_size=1, max_size=20
)


@settings(deadline=None, max_examples=60)
@given(
    layers=layers_strategy,
    width=st.integers(1, 11585),  # the square is just below the limit
    height=st.integers(1, 11585),
    model=st.integers(0, 2**32 - 1),
    parts=st.dictionaries(st.integers(2, 63), st.binary(min_size=1, max_size=50), max_size=3),
    mask=st.binary(max_size=300),
    named=st.booleans(),
)
def test_round_trip(layers, width, height, model, parts, mask, named):
    mask = mask if len(layers) > 1 else None
    names = [f"layer é {index}" for index in range(len(layers))] if named else None
    streams = {index: data for index, (_, data) in enumerate(layers) if data is not None}
    data = mux(
        width=width,
        height=height,
        model=model,
        mask=mask,
        qualities=[quality for quality, _ in layers],
        streams=streams,
        names=names,
        parts=parts,
    )
    container = read_everything(data)
    header = container.header
    assert (header.width, header.height, header.model, header.mask) == (width, height, model, mask)
    assert [entry.quality for entry in header.layers] == [quality for quality, _ in layers]
    assert {entry.index for entry in header.layers if entry.length is not None} == set(streams)
    assert all(container.read_layer(index) == stream for index, stream in streams.items())
    assert all(container.read_part(kind) == part for kind, part in parts.items())
    assert header.layer_names == (tuple(names) if named else default_names(len(layers)))
    layer_bytes = sum(container.layer_bytes(index) for index in range(len(layers)))
    accounted = container.overhead_bytes + container.mask_bytes + container.optional_bytes + layer_bytes
    assert accounted == container.total_bytes == len(data)

    fields, oracle_streams, oracle_parts = oracle.demux(data)
    assert fields[1:5] == [width, height, model, mask]
    assert oracle_streams == {index: streams.get(index) for index in range(len(layers))}
    assert {kind: part for kind, part in oracle_parts.items() if kind > 1} == parts


def test_objects_come_before_the_background():
    data = two_layers()
    assert data.index(b"o" * 4000) < data.index(b"b" * 3000)


def test_long_streams_have_four_bytes_of_checksum():
    short = open_container(two_layers(streams={0: b"x" * 32767, 1: b""}))
    long = open_container(two_layers(streams={0: b"x" * 32768, 1: b""}))
    assert long.overhead_bytes == short.overhead_bytes + 2
    assert long.read_layer(0) == b"x" * 32768


def test_long_headers():
    for size in (100, 200, 300, 40_000, 70_000):
        assert read_everything(two_layers(mask=bytes(size))).header.mask == bytes(size)


def test_absent_differs_from_empty():
    container = open_container(two_layers(streams={1: b""}))
    assert container.header.layers[1].length == 0
    assert container.header.layers[0].length is None
    assert container.read_layer(1) == b""
    with pytest.raises(UsageError, match="layer 0 \\(background\\) is absent"):
        container.read_layer(0)


def test_reading_takes_the_ranges_of_the_header_and_the_layer_only():
    data = two_layers(parts={constants.PART_ICC: b"profile"})
    source = CountingSource(data)
    container = open_container(source)
    header_end = data.index(b"o" * 4000)
    assert source.ranges == [(0, 7), (7, header_end - 7)]
    source.ranges.clear()
    container.read_layer(1)
    assert source.ranges == [(header_end, 4002)]
    source.ranges.clear()
    container.read_layer(0)
    assert source.ranges == [(header_end + 4002, 3002)]


def test_a_pipe_is_read_no_further_than_needed(tmp_path):
    data = two_layers()
    end_of_object = len(data) - 3002

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.file = io.BytesIO(data)

        def readable(self):
            return True

        def read(self, size=-1):
            assert size >= 0
            return self.file.read(min(size, 5))  # a pipe may give less than is asked for

    pipe = Pipe()
    container = open_container(pipe)
    assert container.read_layer("object") == b"o" * 4000
    assert pipe.file.tell() == end_of_object
    assert container.read_layer(0) == b"b" * 3000
    assert container.read_layer(1) == b"o" * 4000, "what was read stays at hand"
    container.check_end()


def test_sources_agree(tmp_path):
    data = two_layers()
    path = tmp_path / "x.obic"
    path.write_bytes(data)
    offset = io.BytesIO(b"before" + data)
    offset.seek(6)
    with path.open("rb") as file:
        for origin in (data, bytearray(data), str(path), path, file, offset, PipeSource(io.BytesIO(data))):
            assert read_everything(origin).read_layer(0) == b"b" * 3000
    with pytest.raises(FileNotFoundError):
        open_container(tmp_path / "no such file")


@pytest.mark.parametrize("keep", [["object"], [0], ["1", "background"], []])
def test_subset(keep):
    data = small(names=["sky", "object"], parts={constants.PART_XMP: b"<x/>", 40: b"unknown"})
    data = data if "background" not in keep else small(parts={40: b"unknown"})
    whole = open_container(data)
    part = read_everything(whole.subset(keep))
    indices = {whole.layer_index(layer) for layer in keep}
    for entry in part.header.layers:
        assert entry.quality == whole.header.layers[entry.index].quality
        assert (entry.length is not None) == (entry.index in indices)
    assert all(part.read_layer(index) == whole.read_layer(index) for index in indices)
    assert part.header.mask == whole.header.mask
    assert part.header.layer_names == whole.header.layer_names
    assert part.read_part(40) == b"unknown"
    assert whole.subset([0, 1]) == data
    if indices:
        assert part.subset(indices) == whole.subset(indices)


def test_subset_reads_only_what_it_copies():
    data = two_layers()
    source = CountingSource(data)
    smaller = open_container(source).subset(["object"])
    assert sum(length for _, length in source.ranges) == len(data) - 3002
    assert len(smaller) < len(data)


def test_layer_index():
    container = open_container(small(names=["left", "right"]))
    assert [container.layer_index(name) for name in ("left", "right", 0, 1, "0", "1")] == [0, 1, 0, 1, 0, 1]
    for wrong in ("object", 2, -1, "2", "-1", "²", ""):
        with pytest.raises(UsageError, match="the file has 0 left, 1 right"):
            container.layer_index(wrong)


def test_default_names():
    assert default_names(1) == ("picture",)
    assert default_names(2) == ("background", "object")
    assert default_names(4) == ("background", "object-1", "object-2", "object-3")
    assert open_container(small(names=default_names(2))).optional_bytes == 0


def test_every_truncation_is_an_error_and_keeps_what_is_whole():
    data = small(parts={constants.PART_EXIF: b"exif"})
    header_end = data.index(b"object")
    for length in range(len(data)):
        cut = data[:length]
        with pytest.raises(TruncatedError):
            read_everything(cut)
        if length >= header_end + len(b"object") + 2:
            container = open_container(cut)
            assert container.read_layer(1) == b"object"
            assert container.total_bytes == len(data)


def test_every_byte_flip_is_an_error():
    data = small(names=["a", "b"], parts={constants.PART_EXIF: b"exif"})
    for position in range(len(data)):
        for flip in (0x01, 0x10, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises((FormatError, LimitError)):
                read_everything(bytes(damaged))


def test_verify_names_what_is_damaged():
    data = bytearray(small(parts={constants.PART_EXIF: b"exif"}))
    data[data.index(b"object")] ^= 1
    checks = open_container(bytes(data) + b"!").verify()
    assert [(check.section, check.index, type(check.error)) for check in checks] == [
        ("layer 1", 1, ChecksumError),
        ("layer 0", 0, type(None)),
        ("optional part 3", None, type(None)),
        ("end", None, FormatError),
    ]
    assert all(check.error is None for check in open_container(small()).verify())


def test_errors_say_where():
    data = small()
    with pytest.raises(NotObicError):
        open_container(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(TruncatedError):
        open_container(b"")
    with pytest.raises(TruncatedError) as caught:
        open_container(data[:-1]).read_layer(0)
    assert (caught.value.section, caught.value.offset) == ("layer 0", len(data) - 1)
    assert str(caught.value) == f"layer 0, byte {len(data) - 1}: the file ends here"


def test_limits():
    data = small(parts={constants.PART_ICC: b"12345678"})
    for limits in (
        Limits(max_pixels=768 * 512 - 1),
        Limits(max_layers=1),
        Limits(max_header_bytes=10),
        Limits(max_part_bytes=7),
    ):
        with pytest.raises(LimitError):
            open_container(data, limits)
    open_container(data, Limits(768 * 512, 100, 2, 8))


GOOD = [1, 320, 240, 7, b"mask", 50, None, 30, None]


def test_the_fields_used_below_are_good():
    assert read_everything(with_fields(GOOD)).header.n_layers == 2


@pytest.mark.parametrize(
    "fields",
    [
        [],
        None,
        {},
        [None],
        [True, *GOOD[1:]],
        GOOD[:5],
        GOOD[:6],
        [1, 0, *GOOD[2:]],
        [1, 320, 2**24, *GOOD[3:]],
        [1, -1, *GOOD[2:]],
        [1, 320.0, *GOOD[2:]],
        [1, "320", *GOOD[2:]],
        [1, 320, 240, 2**32, *GOOD[4:]],
        [1, 320, 240, None, *GOOD[4:]],
        [*GOOD[:4], None, *GOOD[5:]],
        [*GOOD[:4], "mask", *GOOD[5:]],
        [*GOOD[:4], b"mask", 50, None],
        [*GOOD[:5], 0, *GOOD[6:]],
        [*GOOD[:5], 101, *GOOD[6:]],
        [*GOOD[:5], True, *GOOD[6:]],
        [*GOOD[:6], -1, *GOOD[7:]],
        [*GOOD[:6], 2**32, *GOOD[7:]],
        [*GOOD[:6], b"", *GOOD[7:]],
        [*GOOD[:5], *[50, None] * 256],
        [*GOOD, None],
        [*GOOD, 5],
        [*GOOD, []],
        [*GOOD, [2]],
        [*GOOD, [0, 1]],
        [*GOOD, [128, 1]],
        [*GOOD, [2, 0]],
        [*GOOD, [2, None]],
        [*GOOD, [2, b"inline"]],
        [*GOOD, [3, 1, 2, 1]],
        [*GOOD, [3, 1, 3, 1]],
        [*GOOD, [1, 5]],
        [*GOOD, [1, b"one"]],
        [*GOOD, [1, b"a\na"]],
        [*GOOD, [1, b"a\n"]],
        [*GOOD, [1, b"a\n12"]],
        [*GOOD, [1, b"a\n\x1b[2J"]],
        [*GOOD, [1, b"a\n\xff"]],
        [*GOOD, [1, b"a\n" + b"b" * 64]],
    ],
)
def test_header_rules(fields):
    with pytest.raises(HeaderError):
        open_container(with_fields(fields))


def test_newer_files_are_unsupported_not_damaged():
    for fields in ([2, "anything"], [*GOOD, [64, 3]], [*GOOD, [90, b"x"]]):
        with pytest.raises(UnsupportedError):
            open_container(with_fields(fields))


def test_unknown_optional_parts_are_skipped():
    container = open_container(with_fields([*GOOD, [40, b"inline"]]))
    assert container.read_part(40) == b"inline"
    assert container.read_part(41) is None


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb(GOOD) + b"\0",
        msgpack.packb(GOOD)[:-1],
        msgpack.packb(GOOD).replace(b"\xcd\x01\x40", b"\xce\x00\x00\x01\x40"),
        b"\xdc\x00\x09" + msgpack.packb(GOOD)[1:],
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000,
        b"\xc7\x0c\xff" + bytes(12),
        b"\xd6\xff\xff\xff\xff\xff",
    ],
)
def test_header_bytes_must_be_canonical_msgpack(body):
    covered = constants.SIGNATURE + msgpack.packb(len(body)) + body
    with pytest.raises(HeaderError):
        open_container(covered + checksum(covered))


@pytest.mark.parametrize("length", [b"\xcc\x10", b"\xcd\x00\x90", b"\xce\x00\x00\x01\x00", b"\xcf" + bytes(8), b"\xc0"])
def test_the_headers_length_must_be_canonical(length):
    with pytest.raises(FormatError):
        open_container(constants.SIGNATURE + length + bytes(1000))


def test_any_bytes_with_a_right_checksum_give_an_obic_error():
    leaves = st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text()

    @settings(deadline=None, max_examples=300)
    @given(st.recursive(leaves, st.lists, max_leaves=12))
    def check(value):
        fields = value if isinstance(value, list) else [value]
        with contextlib.suppress(ObicError):  # any other exception fails the test
            open_container(with_fields([1, *fields]))

    check()


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"height": 2**24},
        {"mask": None},
        {"qualities": (0, 50)},
        {"qualities": (50,)},
        {"streams": {2: b""}},
        {"names": ("one",)},
        {"names": ("same", "same")},
        {"parts": {64: b"critical"}},
        {"parts": {constants.PART_ICC: b""}},
    ],
)
def test_mux_refuses_what_the_format_does_not_allow(changes):
    with pytest.raises((UsageError, UnsupportedError)):
        small(**changes)
