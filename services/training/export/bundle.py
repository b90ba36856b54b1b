"""Write what was learnt as a bundle that services run: the encoders of another, and towers.

An item that training saw keeps the row that its events taught; any later one gets its vector by a
network from its content, and takes part in sessions by that.

Legend: m items; v views of an item's content; d numbers of the serving space; t of tower vectors.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from services.training.content.contents import DAY_ZERO, ItemContents
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from services.training.export.item_tower import ItemTowerConfig, fit_item_tower
from services.training.export.tower_graphs import write_item_tower
from services.training.models.blended.ranker import AdditiveRanker
from services.training.models.model import Run, ServedModel
from shared.bundles import bundle as bundles
from shared.bundles.bundle import Bundle
from shared.bundles.fusion import Fusion
from shared.bundles.towers import write_bundle
from shared.users.keys import item_key

_COPIED: Final = ("dim", "image", "text", "golden")  # of the manifest, from the encoders' bundle


def write_trained_bundle(
    folder: Path,
    model: ServedModel,
    data: Dataset,
    contents: ItemContents,
    evaluation: Mapping[str, Any],
    run: Run,
    *,
    encoders: Path = DAY_ZERO,
    config: ItemTowerConfig | None = None,
) -> Bundle:
    """Write a fitted model's towers as a bundle; an item tower that it lacks is fitted to its rows.

    data: that the model was fitted on; contents: of its items, by the encoders' bundle, whose files
    are copied; evaluation: as services/cli/models/gate.py reads it. Its space is named after what
    it holds, so that other vectors never have the same name. Where nothing is known of any item,
    later ones have no vector. Raises BadBundle, OSError.
    """
    base = Bundle.load(encoders, bundles.ENCODER_FILES)
    rows = model.item_vectors()
    fusion = Fusion.load(base.files["fusion.npz"])
    learnt = data.counts() > 0
    views = content_views(contents, fusion)
    described = learnt & (views != 0).any(axis=(0, 2))
    files = dict(base.files)
    with TemporaryDirectory() as made:
        session, tower = Path(made) / bundles.SESSION, Path(made) / bundles.TOWER
        model.export_session(session)
        if not model.export_items(tower) and described.any():
            # A fit of its own: it neither asks the session tower's validation nor its checkpoints.
            alone = replace(run, validate=None, checkpoints=None)
            network, _ = fit_item_tower(
                views[:, described], rows[described], config or ItemTowerConfig(), alone
            )
            write_item_tower(network, views.shape[2], tower)
        files |= {path.name: path.read_bytes() for path in Path(made).iterdir()}
    files[bundles.TOWER_ROWS] = tower_rows(data, rows, learnt)
    shape = {"dim": rows.shape[1], "model": model.name, "length": model.length}
    manifest = json.loads((encoders / bundles.MANIFEST).read_bytes())
    return write_bundle(
        folder,
        {
            "space": space_of(base.space, files),
            **{name: manifest[name] for name in _COPIED},
            "tower": shape,
            "evaluation": dict(evaluation),
        },
        files,
    )


def write_ranked_bundle(
    folder: Path, ranker: AdditiveRanker, base: Path, evaluation: Mapping[str, Any]
) -> Bundle:
    """Write another bundle with a ranker of its own.

    evaluation: as services/cli/models/gate.py reads it. Raises BadBundle, OSError.
    """
    bundle = Bundle.load(base)
    with TemporaryDirectory() as made:
        file = Path(made) / bundles.RANKER
        ranker.export(file)
        files = {**bundle.files, bundles.RANKER: file.read_bytes()}
    manifest = json.loads((base / bundles.MANIFEST).read_bytes())
    named = {"space": space_of(bundle.space, files), "evaluation": dict(evaluation)}
    return write_bundle(folder, {**manifest, **named}, files)


def content_views(contents: ItemContents, fusion: Fusion) -> Floats:
    """Return each item's content as it may be known: with all, by its text, by its picture.

    (v, m, d) unit rows in the serving space; a view that an item has not is zero.
    """
    views = np.zeros((3, *contents.fused.shape), np.float32)
    views[0] = contents.fused
    for row in np.flatnonzero(contents.has_text):
        views[1, row] = fusion.fuse(None, contents.texts[row]).vector
    for row in np.flatnonzero(contents.has_picture):
        views[2, row] = fusion.fuse(contents.pictures[row], None).vector
    return views


def tower_rows(data: Dataset, rows: Floats, learnt: np.ndarray) -> bytes:
    """Return tower.npz: the rows (m, t) of items that events taught, by their keys, ascending."""
    keys = np.array([item_key(item_id) for item_id in data.item_ids], np.uint64)
    order = np.argsort(keys)
    order = order[learnt[order]]
    stream = io.BytesIO()
    np.savez(stream, keys=keys[order], vectors=rows[order].astype(np.float16))
    return stream.getvalue()


def space_of(base: str, files: Mapping[str, bytes]) -> str:
    """Name a space after the encoders' and all that was learnt."""
    digest = blake2b(digest_size=4)
    for name in sorted(files.keys() & set(bundles.TRAINED_FILES)):
        digest.update(files[name])
    return f"{base}-{digest.hexdigest()}"
