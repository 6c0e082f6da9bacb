"""Every kind of picture comes in as upright 8-bit sRGB, and what cannot is refused by name."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from obic.errors import FormatError, LimitError, UsageError
from obic.images import picture_format, read_mask, read_picture, write_mask, write_picture
from shared.pictures import display_p3, file_of, png_of_samples, ramp


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA", "QOI"])
def test_lossless_formats_come_in_exactly(format):
    picture = read_picture(file_of(ramp(), format))
    assert np.array_equal(picture.rgb, ramp())
    assert picture.rgb.dtype == np.uint8
    assert picture.notes == ()


def test_paths_are_read_as_bytes_are(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(file_of(ramp()))
    assert np.array_equal(read_picture(path).rgb, ramp())
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "missing.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_one_pixel_sides(size):
    assert read_picture(file_of(ramp(*size))).rgb.shape == (*size, 3)


def test_grey_becomes_three_equal_channels():
    grey = ramp()[..., 2]
    picture = read_picture(file_of(grey))
    assert np.array_equal(picture.rgb, np.dstack([grey] * 3))
    assert picture.notes == ()


def test_one_bit():
    bits = Image.fromarray(ramp()[..., 2] > 10)
    assert np.array_equal(read_picture(file_of(bits)).rgb[..., 0], np.where(ramp()[..., 2] > 10, 255, 0))


def test_palette():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert read_picture(file_of(image)).rgb.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]


@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("#000", 0), ("rgb(10,10,10)", 10)])
def test_transparency_is_composed_and_said(background, expected):
    rgba = np.dstack([ramp(), np.full((5, 7), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    picture = read_picture(file_of(rgba), background=background)
    assert picture.rgb[0, 0].tolist() == [expected] * 3
    assert np.array_equal(picture.rgb[1:], ramp()[1:])
    assert "transparency" in picture.notes[0]


def test_half_transparency_mixes_with_the_background():
    rgba = np.full((1, 1, 4), (0, 0, 0, 128), np.uint8)
    assert read_picture(file_of(rgba)).rgb.tolist() == [[[127, 127, 127]]]


def test_alpha_that_is_opaque_everywhere_is_not_worth_a_word():
    picture = read_picture(file_of(np.dstack([ramp(), np.full((5, 7), 255, np.uint8)])))
    assert np.array_equal(picture.rgb, ramp())
    assert picture.notes == ()


def test_transparent_palette_entry():
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    picture = read_picture(file_of(image, transparency=0))
    assert picture.rgb.tolist() == [[[255, 255, 255], [0, 255, 0]]]


def test_grey_with_alpha():
    image = Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8), "LA")
    assert read_picture(file_of(image)).rgb[0, :, 0].tolist() == [100, 255]


def test_unknown_background_colour():
    with pytest.raises(UsageError, match="reddish"):
        read_picture(file_of(ramp()), background="reddish")


def test_sixteen_bit_grey_is_scaled_with_rounding():
    samples = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    picture = read_picture(file_of(samples))
    assert picture.rgb[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
    assert "16-bit" in picture.notes[0]


def test_sixteen_bit_colour():
    data = png_of_samples(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 65535, 32896, 257, 514, 65535))
    assert read_picture(data).rgb.tolist() == [[[0, 255, 128], [1, 2, 255]]]


@pytest.mark.parametrize("samples", [np.full((2, 2), 70000, np.int32), np.full((2, 2), 0.5, np.float32)])
def test_samples_without_an_agreed_range_are_refused(samples):
    with pytest.raises(FormatError, match="range"):
        read_picture(file_of(samples, "TIFF"))


def test_cmyk():
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert read_picture(file_of(image, "TIFF")).rgb[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: ramp(),
        2: ramp()[:, ::-1],
        3: ramp()[::-1, ::-1],
        4: ramp()[::-1],
        5: ramp().transpose(1, 0, 2),
        6: np.rot90(ramp(), -1),
        7: ramp()[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(ramp()),
    }
    assert np.array_equal(read_picture(file_of(ramp(), exif=exif)).rgb, turned[orientation])


def test_damaged_exif_is_said_and_survived():
    picture = read_picture(file_of(ramp(), exif=b"Exif\0\0garbage"))
    assert np.array_equal(picture.rgb, ramp())
    assert "EXIF" in picture.notes[0]


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(file_of(ramp(), icc_profile=profile))
    assert np.array_equal(picture.rgb, ramp())
    assert picture.notes == ()





def test_a_wide_gamut_profile_is_converted():
    pixels = np.array([[(234, 51, 35), (255, 255, 255), (128, 128, 128)]], np.uint8)  # the first is sRGB's red in P3
    picture = read_picture(file_of(pixels, icc_profile=display_p3()))
    assert np.abs(picture.rgb.astype(int) - [(255, 0, 0), (255, 255, 255), (128, 128, 128)]).max() <= 8
    assert picture.notes == ("colours are converted from Display P3 to sRGB",)


def test_a_profile_survives_composing():
    rgba = np.array([[(234, 51, 35, 255), (0, 0, 0, 0)]], np.uint8)
    picture = read_picture(file_of(rgba, icc_profile=display_p3()))
    assert np.abs(picture.rgb.astype(int) - [(255, 0, 0), (255, 255, 255)]).max() <= 8


@pytest.mark.parametrize("profile", [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_an_unusable_profile_is_said_and_survived(profile):
    picture = read_picture(file_of(ramp(), icc_profile=profile))
    assert np.array_equal(picture.rgb, ramp())
    assert "profile" in picture.notes[0]


FRAMES = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_several_frames_the_first_is_taken_unless_another_is_asked_for(format):
    options = {"lossless": True} if format == "WEBP" else {}
    data = file_of(FRAMES[0], format, save_all=True, append_images=FRAMES[1:], **options)
    picture = read_picture(data)
    assert picture.notes == ("of 3 frames the first is taken; --frame 0 to 2 says which",)
    assert np.array_equal(picture.rgb, read_picture(data, frame=0).rgb)
    for frame, expected in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        chosen = read_picture(data, frame=frame)
        assert chosen.notes == ()
        assert np.abs(chosen.rgb.astype(int) - expected).max() <= 9
    for frame in (3, 1_000_000):
        with pytest.raises(UsageError, match=f"no frame {frame}: the first of 3 is 0"):
            read_picture(data, frame=frame)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "QOI"])
def test_of_one_frame_there_is_no_other(format):
    data = file_of(ramp(), format)
    assert np.array_equal(read_picture(data, frame=0).rgb, read_picture(data).rgb)
    assert read_picture(data).notes == ()
    with pytest.raises(UsageError, match="no frame 1: the first of 1 is 0"):
        read_picture(data, frame=1)


def test_frames_of_an_image_of_pillows():
    with Image.open(io.BytesIO(file_of(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]))) as image:
        image.seek(1)
        assert read_picture(image).rgb[0, 0].tolist() == [0, 255, 0], "the current one"
        assert read_picture(image, frame=2).rgb[0, 0].tolist() == [0, 0, 255]
        assert image.tell() == 1, "it stays where it was"
        with pytest.raises(UsageError):
            read_picture(image, frame=3)
        assert image.tell() == 1


def test_pages_of_other_sizes_are_within_the_limit_too():
    data = file_of(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (40, 40))])
    assert read_picture(data, frame=1).rgb.shape == (40, 40, 3)
    assert read_picture(data, max_pixels=16).rgb.shape == (4, 4, 3)
    with pytest.raises(LimitError):
        read_picture(data, max_pixels=16, frame=1)


def test_truncated_pictures_are_damaged_files():
    for format in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        data = file_of(ramp(40, 60), format)
        for length in (0, 1, 10, len(data) // 2, len(data) * 3 // 4):
            with pytest.raises(FormatError):
                read_picture(data[:length])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "QOI"])
def test_damage_gives_a_picture_or_an_error_of_ours(format):
    data = file_of(ramp(12, 15), format)
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for position in random.integers(len(data), size=3):
            damaged[position] = random.integers(256)
        try:
            assert read_picture(bytes(damaged), max_pixels=1 << 20).rgb.dtype == np.uint8
        except (FormatError, LimitError):
            refused += 1
    assert refused > 0


def test_pillow_says_nothing_beside_our_errors():
    data = bytearray(file_of(ramp(), "TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(directory + 2, len(data) - 12, 12):
        if struct.unpack_from("<H", data, entry)[0] == 277:  # samples per pixel
            struct.pack_into("<H", data, entry + 8, 2048)
    command = [sys.executable, "-m", "obic", "encode", "-", "-o", os.devnull]  # a process: pytest takes the log
    done = subprocess.run(command, input=bytes(data), capture_output=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.startswith(b"obic: ")
    assert done.stderr.count(b"\n") == 1


def test_what_is_no_picture():
    with pytest.raises(FormatError, match="not a picture"):
        read_picture(b"plain text, nothing else")
    with pytest.raises(FormatError, match="empty"):
        read_picture(b"")


def test_limits_are_checked_before_decoding(monkeypatch):
    with pytest.raises(LimitError):
        read_picture(file_of(ramp()), max_pixels=34)
    assert read_picture(file_of(ramp()), max_pixels=35).rgb.shape == (5, 7, 3)
    with monkeypatch.context() as patch:  # ours is the limit, also where Pillow's is lower
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert read_picture(file_of(ramp()), max_pixels=35).rgb.shape == (5, 7, 3)
    with pytest.raises(LimitError):
        read_picture(png_of_samples(60000, 60000, 8, 2, b""))


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_writing_is_lossless_where_the_format_is(format):
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(write_picture(ramp(), format)))), ramp())


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "TGA", "QOI", "DDS", "ICO", "SGI"])
def test_alpha_is_written(format):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[8:, :, :] = (200, 100, 50, 255)
    image = Image.open(io.BytesIO(write_picture(rgba, format)))
    assert np.array_equal(np.asarray(image.convert("RGBA"))[..., 3], rgba[..., 3])


def test_colour_under_full_transparency_is_not_kept():
    rgba = np.array([[(9, 9, 9, 0), (9, 9, 9, 1)]], np.uint8)
    image = Image.open(io.BytesIO(write_picture(rgba, "PNG")))
    assert np.asarray(image).tolist() == [[[0, 0, 0, 0], [9, 9, 9, 1]]]


@pytest.mark.parametrize("format", ["JPEG", "BMP", "PPM"])
def test_alpha_is_never_dropped_silently(format):
    with pytest.raises(UsageError, match="transparency"):
        write_picture(np.zeros((4, 4, 4), np.uint8), format)


def test_a_format_that_lacks_colour():
    with pytest.raises(UsageError, match="XBM cannot hold"):
        write_picture(ramp(), "XBM")


@pytest.mark.parametrize(
    ("name", "format"), [(".jpg", "JPEG"), ("jpeg", "JPEG"), (".TIF", "TIFF"), ("webp", "WEBP"), ("TIFF", "TIFF")]
)
def test_format_names(name, format):
    assert picture_format(name) == format


@pytest.mark.parametrize("name", [".xyz", "", "obic", ".mpg"])
def test_unknown_format_names(name):
    with pytest.raises(UsageError, match="unknown picture format"):
        picture_format(name)


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "labels", "n_layers"),
    [
        ([0, 255], [0, 1], 2),  # the object stands alone
        ([0, 15, 255], [0, 1, 0], 2),  # void beside a class
        ([3, 15, 0], [1, 2, 0], 3),
        ([0, 100, 255], [0, 1, 2], 3),  # 100 is no class, so 255 is a layer like any other
        ([0, 254], [0, 1], 2),
        ([0, 0], [0, 0], 1),
        ([255, 255], [1, 1], 2),  # object everywhere: the background is there, and empty
    ],
)
def test_mask_values(values, labels, n_layers):
    mask = file_of(np.array([values], np.uint8))
    found, count = read_mask(mask, 1, len(values))
    assert found.tolist() == [labels]
    assert found.dtype == np.uint8
    assert count == n_layers


def test_mask_kinds_that_say_the_same():
    values = np.array([[0, 2], [7, 7]], np.uint8)
    palette = Image.fromarray(values)
    palette.putpalette([channel for i in range(256) for channel in (i * 37 % 256, i * 91 % 256, i)])
    rgba = np.dstack([values] * 3 + [np.full((2, 2), 255, np.uint8)])
    for image in (values, palette, np.dstack([values] * 3), rgba, values.astype(np.uint16)):
        labels, count = read_mask(file_of(image), 2, 2)
        assert labels.tolist() == [[0, 1], [2, 2]]
        assert count == 3


def test_a_one_bit_mask():
    assert read_mask(file_of(Image.fromarray(np.array([[False, True]]))), 1, 2)[0].tolist() == [[0, 1]]


def test_masks_that_are_refused():
    with pytest.raises(UsageError, match="2x1 but the picture is 3x1"):
        read_mask(file_of(np.zeros((1, 2), np.uint8)), 1, 3)
    with pytest.raises(UsageError, match="colour"):
        read_mask(file_of(ramp()), 5, 7)
    with pytest.raises(UsageError, match="0 to 255"):
        read_mask(file_of(np.array([[0, 300]], np.uint16)), 1, 2)
    with pytest.raises(FormatError):
        read_mask(file_of(np.zeros((9, 9), np.uint8))[:40], 9, 9)


def test_the_most_layers_a_mask_can_have():
    values = np.arange(256, dtype=np.uint8)[None]
    labels, count = read_mask(file_of(values), 1, 256)
    assert count == 255
    assert labels.tolist() == [[*range(255), 0]]


def test_a_written_mask_is_read_back():
    data = write_mask(np.array([[0, 1], [15, 0]], np.uint8))
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == [[0, 255], [255, 0]]
    assert read_mask(data, 2, 2)[0].tolist() == [[0, 1], [1, 0]]
