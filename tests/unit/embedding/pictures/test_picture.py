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

from services.embedding.pictures.picture import (
    SIDE,
    BadPicture,
    PictureLimits,
    colour_moments,
    decode,
)

RED, WHITE = (255, 0, 0), (255, 255, 255)


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_format_decodes_to_the_cnns_input(kind: str) -> None:
    pixels = decode(encoded(quadrants(), kind, quality=95))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(np.array(corners(pixels)) - [RED, WHITE, WHITE, WHITE]).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_though_pillow_reads_them(kind: str) -> None:
    with pytest.raises(BadPicture, match="not a JPEG, PNG or WebP"):
        decode(encoded(quadrants((64, 64)), kind))


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\0" * 64,
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture, match="not a JPEG, PNG or WebP"):
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


def test_a_small_png_of_8000_by_8000_pixels_is_refused() -> None:
    data = encoded(Image.new("1", (8000, 8000)), compress_level=9)
    assert len(data) < 10_000
    with pytest.raises(BadPicture, match="8000 × 8000 has more than 25000000 pixels"):
        decode(data)


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


def test_memory_for_the_largest_allowed_picture_stays_under_nine_bytes_a_pixel() -> None:
    program = """if True:
        import io, resource, sys
        from PIL import Image
        from services.embedding.pictures.picture import decode
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        data = sys.stdin.buffer.read()
        before = peak()
        decode(data)
        print(peak() - before)
    """
    data = encoded(Image.new("RGBA", (3000, 2000), (9, 99, 199, 77)))
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, check=True
    )
    assert int(done.stdout) * 1024 < 9 * 3000 * 2000 + 20e6


def test_colour_moments_are_mean_and_spread_of_each_channel() -> None:
    pictures = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pictures[0] = (255, 51, 0)
    pictures[1, :, : SIDE // 2, 0] = 255
    moments = colour_moments(pictures)
    assert moments[0] == pytest.approx([1, 0.2, 0, 0, 0, 0], abs=1e-6)
    assert moments[1] == pytest.approx([0.5, 0, 0, 0.5, 0, 0], abs=1e-6)
