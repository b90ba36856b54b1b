"""Turn a picture's bytes into what the CNN reads: uint8 RGB (224, 224, 3). Pure.

It runs in worker processes, so imports stay light. The bytes come from strangers. Only the decoders
of formats that shops have are open to them, limits are checked on the header before a pixel is
decoded, and whatever a decoder raises on broken data comes out as BadPicture. Peak memory is about
four bytes a pixel of the source (WebP and AVIF: sixteen), as copies are made of strips only; of a
JPEG it is less, because it is decoded smaller.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from freshet.contract.bounds import IMAGE_BYTES

SIDE = 224  # pixels; the CNN's input
MOMENTS = 6  # columns of colour_moments
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
_MOMENTS_STRIDE = 4  # pixels; colour moments need no finer look
# JPEG decodes at 1/2, 1/4 or 1/8 almost for free; twice the side keeps what the final filter needs.
_DRAFT = (2 * SIDE, 2 * SIDE)
_GAP: Final = 3.0  # a picture is averaged down to that many times SIDE before the final filter
_STRIP_PIXELS: Final = 1 << 20  # what is copied at a time
_JPEG_END: Final = b"\xff\xd9"
_BEHIND_END: Final = 1024  # bytes: some programs put a few there
_LOST_AT_MOST: Final = 1 / 8  # of the rows of a JPEG that was cut off
_UNDECODED: Final = 128  # what a JPEG's decoder leaves in each channel where data are missing
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each would reserve memory of its own


class BadPicture(ValueError):
    """These bytes are not a picture that may be decoded; the text says why. Final."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Limits on a source picture, checked before decoding."""

    max_bytes: int = IMAGE_BYTES
    max_pixels: int = 64_000_000  # the largest cameras have 61 million


def decode(data: bytes, limits: PictureLimits = PictureLimits()) -> NDArray[np.uint8]:
    """Decode the first frame, upright, on white, squeezed to (224, 224, 3) uint8 RGB.

    The aspect ratio is not kept: a crop could cut off what is for sale, and the CNN hardly minds.
    Raises BadPicture.
    """
    if len(data) > limits.max_bytes:
        raise BadPicture(f"picture of {len(data)} bytes is over {limits.max_bytes}")
    if not data:
        raise BadPicture("picture is empty")
    is_cut = data.startswith(b"\xff\xd8") and _JPEG_END not in data[-_BEHIND_END:]
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a bomb under twice its own limit, and of damaged metadata.
            warnings.simplefilter("ignore")
            file = io.BytesIO(data + _JPEG_END if is_cut else data)
            with Image.open(file, formats=FORMATS) as image:
                return _decode(image, limits, is_cut)
    except BadPicture:
        raise
    except Image.DecompressionBombError:
        raise BadPicture(f"picture has more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadPicture(_stranger(data)) from None
    except MemoryError:
        raise BadPicture("picture takes more memory than a decoder may have") from None
    except Exception as error:
        # On broken data decoders raise OSError, SyntaxError, struct.error and more.
        raise BadPicture(f"broken picture: {str(error)[:200]}") from None


def colour_moments(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return mean and spread of red, green, blue in 0 … 1: (n, 224, 224, 3) → (n, 6)."""
    pixels = pictures[:, ::_MOMENTS_STRIDE, ::_MOMENTS_STRIDE] / 255.0  # float64: exact sums
    moments = np.concatenate((pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))), axis=1)
    return moments.astype(np.float32)


def _decode(image: Image.Image, limits: PictureLimits, is_cut: bool) -> NDArray[np.uint8]:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise BadPicture(f"picture of {width} × {height} has more than {limits.max_pixels} pixels")
    turn = _TURNS.get(_orientation(image))
    image.draft(None, _DRAFT)  # before load(); nothing but for JPEG
    rgb = _small_rgb(image)
    if is_cut:
        _check_cut(np.asarray(rgb))
    # Turning after the squeeze is the same for a square, and costs nothing.
    return np.asarray(rgb.transpose(turn) if turn is not None else rgb, dtype=np.uint8)


def _check_cut(pixels: NDArray[np.uint8]) -> None:
    """Raise BadPicture if too many rows at the end of a JPEG are not there."""
    there = np.flatnonzero((pixels != _UNDECODED).any(axis=(1, 2)))
    lost = 1 - (there[-1] + 1 if there.size else 0) / len(pixels)
    if lost > _LOST_AT_MOST:
        raise BadPicture(f"broken picture: it is cut off, {lost:.0%} of it is missing")


def _stranger(data: bytes) -> str:
    """Say what bytes are that no decoder knows."""
    if data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "not a picture but a page in HTML or XML"
    return f"not a picture in one of {', '.join(FORMATS)}"


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing about the picture itself
        return 1


def _small_rgb(image: Image.Image) -> Image.Image:
    """Squeeze to (SIDE, SIDE) RGB, averaged in a mode that keeps colours right."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        return _squeeze(image, _eight_bits).convert("RGB")
    if image.has_transparency_data:
        # Averaged as premultiplied colour (RGBa), so that transparent pixels lend none of theirs.
        clear = _squeeze(image, lambda part: part.convert("RGBA").convert("RGBa")).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    if image.mode in ("P", "1"):  # an index, or black and white, cannot be averaged
        return _squeeze(image, lambda part: part.convert("RGB"))
    return _squeeze(image, lambda part: part).convert("RGB")


def _eight_bits(grey: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(grey) >> 8).clip(0, 255).astype(np.uint8))


def _squeeze(image: Image.Image, averageable: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Squeeze to (SIDE, SIDE), in the mode that `averageable` gives.

    What is larger is averaged over whole pixels first, strip by strip, so that no copy of all of it
    is made: as `resize` does with `reducing_gap`, which is not there for all modes.
    """
    width, height = image.size
    by_x, by_y = (max(1, int(side / SIDE / _GAP)) for side in image.size)
    if by_x == by_y == 1:
        return averageable(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    small = Image.new("L", (0, 0))
    rows = by_y * max(1, _STRIP_PIXELS // (width * by_y))
    for top in range(0, height, rows):
        strip = averageable(image.crop((0, top, width, min(top + rows, height))))
        strip = strip.reduce((by_x, by_y))
        if not top:
            small = Image.new(strip.mode, (strip.width, math.ceil(height / by_y)))
        small.paste(strip, (0, top // by_y))
    box = (0, 0, width / by_x, height / by_y)
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
