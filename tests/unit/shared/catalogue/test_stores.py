"""Where snapshots lie is known at start, or refused with what is known."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from freshet.settings import BadSetting, from_environment
from services.embedding.settings import EmbeddingSettings
from services.ranking.settings import RankingSettings
from services.sessions.settings import SessionsSettings

SETTINGS = (EmbeddingSettings, RankingSettings, SessionsSettings)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("url", ["s4://shop/snapshots", "shop://", "simplecache::s4://shop"])
def test_an_unknown_scheme_is_refused_with_what_is_known(settings: type[Any], url: str) -> None:
    with pytest.raises(BadSetting, match=rf"FRESHET_SNAPSHOTS must .*file://.*was '{url}'"):
        from_environment(settings, {"FRESHET_SNAPSHOTS": url})


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_store_whose_package_is_not_installed_is_refused(
    settings: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(BadSetting, match="FRESHET_SNAPSHOTS must"):
        from_environment(settings, {"FRESHET_SNAPSHOTS": "abfs://shop/snapshots"})


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    "url",
    [
        *("snapshots", "/var/lib/freshet/snapshots", "file:///srv/snapshots"),
        *("memory://shop", "s3://shop/snapshots", "gs://shop/snapshots"),
    ],
)
def test_a_folder_and_a_known_scheme_are_taken(settings: type[Any], url: str) -> None:
    from_environment(settings, {"FRESHET_SNAPSHOTS": url})


@pytest.mark.parametrize(
    "root",
    ["s4://shop", "file://srv/pictures", "simplecache::s3://shop", "s3://shop?x=1", "/srv/../etc"],
)
def test_a_root_of_pictures_is_one_that_can_be_read(root: str) -> None:
    with pytest.raises(BadSetting, match="FRESHET_IMAGE_ROOTS must"):
        from_environment(
            EmbeddingSettings, {"FRESHET_IMAGE_ROOTS": f"file:///srv/pictures, {root}"}
        )


def test_networks_of_pictures_are_private_ones() -> None:
    good = from_environment(EmbeddingSettings, {"FRESHET_IMAGE_NETWORKS": "10.2.0.0/16, fd12::/48"})
    assert good.image_networks == ("10.2.0.0/16", "fd12::/48")
    with pytest.raises(BadSetting, match=r"must be private networks .*was '127\.0\.0\.0/8'"):
        from_environment(EmbeddingSettings, {"FRESHET_IMAGE_NETWORKS": "10.2.0.0/16, 127.0.0.0/8"})
