from __future__ import annotations

import io
import pickle
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from shared.bundles.picture import (
    SIDE,
    BadPicture,
    PictureLimits,
    colour_moments,
    decode,
)

RED, WHITE = (255, 0, 0), (255, 255, 255)
LARGE = PictureLimits(max_bytes=1 << 30)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def quadrants(size: tuple[int, int] = (400, 200)) -> Image.Image:
    """Red top left, the rest white."""
    image = Image.new("RGB", size, WHITE)
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Colours of top left, top right, bottom left, bottom right."""
    spots = [(20, 20), (20, -20), (-20, 20), (-20, -20)]
    return [tuple(int(value) for value in pixels[spot]) for spot in spots]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF"])
def test_each_format_decodes_to_the_cnns_input(kind: str) -> None:
    pixels = decode(encoded(quadrants(), kind, quality=95))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(np.array(corners(pixels)) - [RED, WHITE, WHITE, WHITE]).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_a_moving_picture_the_first_frame_counts(kind: str) -> None:
    others = [Image.new("RGB", (400, 200), "blue")] * 2
    data = encoded(quadrants(), kind, save_all=True, append_images=others, quality=95)
    pixels = decode(data)
    assert np.abs(np.array(corners(pixels)) - [RED, WHITE, WHITE, WHITE]).max() <= 4


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA"])
def test_other_formats_are_refused_though_pillow_reads_them(kind: str) -> None:
    with pytest.raises(BadPicture, match="not a picture in one of JPEG, PNG, WEBP, AVIF, GIF"):
        decode(encoded(quadrants((64, 64)), kind))


@pytest.mark.parametrize("data", [b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 64])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture, match="not a picture in one of"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><body>404</body></html>",
        b"<html>Please log in</html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_a_page_instead_of_a_picture_is_called_one(data: bytes) -> None:
    with pytest.raises(BadPicture, match="not a picture but a page in HTML or XML"):
        decode(data)


def test_no_bytes_are_no_picture() -> None:
    with pytest.raises(BadPicture, match="empty"):
        decode(b"")


def test_bytes_over_the_cap_are_refused_unread() -> None:
    with pytest.raises(BadPicture, match="101 bytes is over 100"):
        decode(b"x" * 101, PictureLimits(max_bytes=100))


def test_pixels_over_the_cap_are_refused() -> None:
    assert decode(encoded(quadrants((40, 20))), PictureLimits(max_pixels=800)).shape == (
        SIDE,
        SIDE,
        3,
    )
    with pytest.raises(BadPicture, match="40 × 20 has more than 799 pixels"):
        decode(encoded(quadrants((40, 20))), PictureLimits(max_pixels=799))


def test_a_small_png_of_9000_by_9000_pixels_is_refused() -> None:
    data = encoded(Image.new("1", (9000, 9000)), compress_level=9)
    assert len(data) < 13_000
    with pytest.raises(BadPicture, match="9000 × 9000 has more than 64000000 pixels"):
        decode(data)


def test_a_photo_of_27_megapixels_is_decoded() -> None:
    assert np.abs(decode(encoded(quadrants((6000, 4500)), "JPEG"))[20, 20] - RED).max() <= 3


@pytest.mark.parametrize("size", [(1344, 1000), (1345, 1000), (2000, 1700)])
def test_grey_of_16_bits_is_decoded_at_every_size(size: tuple[int, int]) -> None:
    grey = Image.fromarray(np.full(size[::-1], 200 << 8, np.uint16))
    assert grey.mode == "I;16"
    assert (decode(encoded(grey)) == 200).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_what_is_averaged_strip_by_strip_is_what_pillow_averages_at_once(mode: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (57, 41, 3), np.uint8)
    large = Image.fromarray(noise).convert(mode).resize((3001, 2203), Image.Resampling.BICUBIC)
    at_once = large.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0).convert("RGB")
    assert np.array_equal(decode(encoded(large, "TIFF"), LARGE), np.asarray(at_once))


def test_a_large_picture_takes_little_more_memory_than_its_pixels() -> None:
    """Four bytes each; a second copy of it, for its transparency, would be as many again."""
    data = encoded(Image.linear_gradient("L").resize((4000, 4000)).convert("RGBA"))
    script = "\n".join(
        (
            "import sys",
            "from pathlib import Path",
            "from shared.bundles.picture import decode",
            # Not `getrusage`, whose peak is that of the process before it ran this.
            "status = Path('/proc/self/status')",
            "peak = lambda: int(status.read_text().split('VmHWM:')[1].split()[0])",
            "before = peak()",
            "decode(sys.stdin.buffer.read())",
            "print((peak() - before) * 1024 / 4000**2)",
        )
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=data, capture_output=True, check=True
    )
    assert float(ran.stdout) < 6


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_less_its_last_bytes_is_decoded(progressive: bool) -> None:
    data = encoded(quadrants((400, 400)), "JPEG", progressive=progressive)
    for lost in (1, 2):
        assert np.array_equal(decode(data[:-lost]), decode(data))


def test_a_whole_jpeg_may_be_grey_below_and_have_bytes_behind_its_end() -> None:
    image = quadrants()
    image.paste((128, 128, 128), (0, 100, 400, 200))
    data = encoded(image, "JPEG")
    assert np.array_equal(decode(data + b"\n" * 100), decode(data))


def test_of_a_jpeg_an_eighth_may_be_missing_and_no_more() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (320, 320, 3), np.uint8))
    data = encoded(noise, "JPEG")
    whole, cut = decode(data), decode(data[: int(len(data) * 0.93)])
    assert np.array_equal(whole[:190], cut[:190])
    with pytest.raises(BadPicture, match=r"cut off, (19|2\d)% of it is missing"):
        decode(data[: int(len(data) * 0.78)])


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_formats_are_refused_by_their_pixels_too(kind: str) -> None:
    data = encoded(quadrants((1600, 1600)), kind)
    with pytest.raises(BadPicture, match="1600 × 1600 has more than 2000000 pixels"):
        decode(data, PictureLimits(max_pixels=2_000_000))


def test_a_header_that_promises_endless_pixels_is_refused_without_their_memory() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", len(header))
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadPicture, match="pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8))
    data = encoded(noise, kind)
    for length in (12, 40, len(data) // 2):
        with pytest.raises(BadPicture):
            decode(data[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_flipped_bytes_give_a_picture_or_bad_picture_and_nothing_else(kind: str) -> None:
    rng = np.random.default_rng(2)
    data = encoded(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), kind)
    refused = 0
    for _ in range(200):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 200), 3):
            broken[at] = rng.integers(0, 256)
        try:
            assert decode(bytes(broken)).shape == (SIDE, SIDE, 3)
        except BadPicture:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("orientation", "red_corner"), [(1, 0), (2, 1), (3, 3), (4, 2), (5, 0), (6, 1), (7, 3), (8, 2)]
)
def test_cameras_turned_pictures_stand_upright(orientation: int, red_corner: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = corners(decode(encoded(quadrants(), "JPEG", exif=exif, quality=95)))
    assert [colour[1] < 128 for colour in found] == [corner == red_corner for corner in range(4)]


def test_damaged_exif_is_no_reason_to_refuse_a_picture() -> None:
    data = encoded(quadrants(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01")
    assert np.abs(np.array(corners(decode(data))[0]) - RED).max() <= 3


def test_what_is_transparent_shows_white() -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 50, 50))
    assert corners(decode(encoded(image))) == [RED, WHITE, WHITE, WHITE]
    assert decode(encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 128))))[9, 9, 0] == pytest.approx(
        127, abs=1
    )


def test_hidden_colours_of_transparent_pixels_do_not_bleed_into_the_edge() -> None:
    stripes = np.zeros((448, 448, 4), np.uint8)
    stripes[::2] = (255, 0, 0, 255)
    stripes[1::2] = (0, 255, 0, 0)  # green that nobody can see
    middle = decode(encoded(Image.fromarray(stripes)))[100:120, 100:120].reshape(-1, 3).mean(axis=0)
    assert middle == pytest.approx([255, 127.5, 127.5], abs=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "I;16"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    grey = Image.new("L", (60, 60), 128).convert("1" if mode == "1" else "L")
    if mode == "I;16":
        image, kind = Image.fromarray(np.full((60, 60), 128 * 257, np.uint16)), "PNG"
    elif mode in ("CMYK", "YCbCr"):
        image, kind = grey.convert("RGB").convert(mode), "JPEG"
    elif mode == "PA":  # a palette with one transparent colour
        image, kind = Image.new("P", (60, 60), 1), "PNG"
        image.putpalette([0, 0, 0, 255, 0, 0])
        assert decode(encoded(image, transparency=1)).min() == 255
        return
    else:
        image, kind = grey.convert(mode), "PNG"
    average = decode(encoded(image, kind)).reshape(-1, 3).mean(axis=0)
    assert average == pytest.approx([128] * 3, abs=3)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (50, 50), RED), Image.new("RGB", (50, 50), WHITE)]
    for kind in ("WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert decode(data)[100, 100].tolist() == list(RED)


def test_bad_picture_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadPicture("broken picture: why")))
    assert isinstance(error, BadPicture)
    assert str(error) == "broken picture: why"


def test_decoding_processes_need_no_onnx_runtime() -> None:
    program = "import sys, services.embedding.pictures.decoding; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"onnxruntime", "tokenizers", "aiohttp", "grpc"} & set(done.stdout.split())


def test_colour_moments_are_mean_and_spread_of_each_channel() -> None:
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pictures[0] = (255, 51, 0)
    pictures[1, :, : SIDE // 2, 0] = 255
    moments = colour_moments(pictures)
    assert moments[0] == pytest.approx([1, 0.2, 0, 0, 0, 0], abs=1e-6)
    assert moments[1] == pytest.approx([0.5, 0, 0, 0.5, 0, 0], abs=1e-6)
