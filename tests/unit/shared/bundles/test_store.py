"""Published bundles: whole or not there, once for ever, in a folder as in an object store."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.bundles.store import AlreadyPublished, BundleStore, Publication


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "bundles")
    return f"memory://{tmp_path.name}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("manifest.json", "text.onnx", "left.out"):
        (folder / name).write_text(name)
    return folder


def publication(space: str, published_ms: int = 1) -> Publication:
    return Publication(
        space=space,
        dim=8,
        published_ms=published_ms,
        files=("manifest.json", "text.onnx"),
        evaluation={"ndcg@10": 0.2},
    )


def test_what_was_published_is_listed_by_time_and_can_be_read(url: str, bundle: Path) -> None:
    assert BundleStore(url).publications() == []
    for space, time_ms in (("later", 2), ("first", 1)):
        BundleStore(url).publish(bundle, publication(space, time_ms))

    assert [one.space for one in BundleStore(url).publications()] == ["first", "later"]
    found = BundleStore(url).find("later")
    assert found == publication("later", 2)
    with BundleStore(url).lent(found) as folder:
        assert (folder / "text.onnx").read_text() == "text.onnx"
        assert not (folder / "left.out").exists()


def test_a_space_is_published_once(url: str, bundle: Path) -> None:
    BundleStore(url).publish(bundle, publication("one"))
    with pytest.raises(AlreadyPublished, match="one is published already"):
        BundleStore(url).publish(bundle, publication("one", 2))
    assert BundleStore(url).find("one") == publication("one")


def test_what_was_never_ordered_is_taken_back_and_may_be_published_again(
    url: str, bundle: Path
) -> None:
    store = BundleStore(url)
    store.publish(bundle, publication("one"))
    store.withdraw("one")
    assert store.publications() == []
    store.publish(bundle, publication("one", 2))
    assert store.find("one") == publication("one", 2)


def test_what_was_written_in_part_is_not_there_and_may_be_written_again(
    tmp_path: Path, bundle: Path
) -> None:
    url = str(tmp_path / "bundles")
    missing = msgspec.structs.replace(publication("one"), files=("manifest.json", "gone.onnx"))
    with pytest.raises(FileNotFoundError):
        BundleStore(url).publish(bundle, missing)
    (tmp_path / "bundles" / "published" / "one").mkdir(parents=True)  # of one that was killed
    assert BundleStore(url).publications() == []
    BundleStore(url).publish(bundle, publication("one"))
    assert BundleStore(url).find("one") is not None


@pytest.mark.parametrize("damage", ["{", '{"space":"other","dim":8,"published_ms":1,"files":[]}'])
def test_a_damaged_publication_is_left_out(tmp_path: Path, bundle: Path, damage: str) -> None:
    url = str(tmp_path / "bundles")
    BundleStore(url).publish(bundle, publication("one"))
    (tmp_path / "bundles" / "published" / "one" / "published.json").write_text(damage)
    assert BundleStore(url).publications() == []


@pytest.mark.parametrize("file", ["../manifest.json", "a/b", ""])
def test_a_publication_names_no_file_elsewhere(file: str) -> None:
    raw = msgspec.json.encode({"space": "s", "dim": 8, "published_ms": 1, "files": [file]})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=Publication)
