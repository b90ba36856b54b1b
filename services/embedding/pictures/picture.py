"""Turn a picture's bytes into what the CNN reads: uint8 RGB (224, 224, 3). Pure.

It runs in worker processes, so imports stay light. The bytes come from strangers. Only three
decoders of Pillow are open to them, limits are checked on the header before a pixel is decoded,
and whatever a decoder raises on broken data comes out as BadPicture. Peak memory is about eight
bytes a pixel of the source (alpha needs a second copy), 200 MB at the default limit.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from freshet.contract.bounds import IMAGE_BYTES

SIDE = 224  # pixels; the CNN's input
MOMENTS = 6  # columns of colour_moments
FORMATS = ("JPEG", "PNG", "WEBP")
_MOMENTS_STRIDE = 4  # pixels; colour moments need no finer look
# JPEG decodes at 1/2, 1/4 or 1/8 almost for free; twice the side keeps what the final filter needs.
_DRAFT = (2 * SIDE, 2 * SIDE)
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


class BadPicture(ValueError):
    """These bytes are not a picture that may be decoded; the text says why. Final."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Limits on a source picture, checked before decoding."""

    max_bytes: int = IMAGE_BYTES
    max_pixels: int = 25_000_000  # a 24-megapixel camera; 8000 × 8000 is refused


def decode(data: bytes, limits: PictureLimits = PictureLimits()) -> NDArray[np.uint8]:
    """Decode the first frame, upright, on white, squeezed to (224, 224, 3) uint8 RGB.

    The aspect ratio is not kept: a crop could cut off what is for sale, and the CNN hardly minds.
    Raises BadPicture.
    """
    if len(data) > limits.max_bytes:
        raise BadPicture(f"picture of {len(data)} bytes is over {limits.max_bytes}")
    if not data:
        raise BadPicture("picture is empty")
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a bomb under twice its own limit, and of damaged metadata.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _decode(image, limits)
    except BadPicture:
        raise
    except Image.DecompressionBombError:
        raise BadPicture(f"picture has more than {limits.max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadPicture("not a JPEG, PNG or WebP picture") from None
    except Exception as error:
        # On broken data decoders raise OSError, SyntaxError, struct.error, MemoryError and more.
        raise BadPicture(f"broken picture: {str(error)[:200]}") from None


def colour_moments(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return mean and spread of red, green, blue in 0 … 1: (n, 224, 224, 3) → (n, 6)."""
    pixels = pictures[:, ::_MOMENTS_STRIDE, ::_MOMENTS_STRIDE] / 255.0  # float64: exact sums
    moments = np.concatenate((pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))), axis=1)
    return moments.astype(np.float32)


def _decode(image: Image.Image, limits: PictureLimits) -> NDArray[np.uint8]:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise BadPicture(f"picture of {width} × {height} has more than {limits.max_pixels} pixels")
    turn = _TURNS.get(_orientation(image))
    image.draft(None, _DRAFT)  # before load(); nothing for PNG and WebP
    rgb = _small_rgb(image)
    # Turning after the squeeze is the same for a square, and costs nothing.
    return np.asarray(rgb.transpose(turn) if turn is not None else rgb, dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing about the picture itself
        return 1


def _small_rgb(image: Image.Image) -> Image.Image:
    """Squeeze to (SIDE, SIDE) RGB: shrink in the first mode that keeps colours right, convert."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        grey = np.asarray(_squeeze(image)).astype(np.uint32) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        # Averaged as premultiplied colour (RGBa), so that transparent pixels lend none of theirs.
        clear = _squeeze(image.convert("RGBa")).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    if image.mode in ("P", "1"):  # an index, or black and white, cannot be averaged
        image = image.convert("RGB")
    return _squeeze(image).convert("RGB")


def _squeeze(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
