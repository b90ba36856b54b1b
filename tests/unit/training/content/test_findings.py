"""What vectors find is counted as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.content import findings


def test_neighbours_of_one_kind_share_a_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "NEIGHBOURS", 1)
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flags = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], bool)

    assert findings.shared_categories(vectors, flags).tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(findings.shared_by_chance(flags), [2 / 3, 2 / 3, 0, 2 / 3])


def test_histograms_tell_colours_apart_and_not_places() -> None:
    left, right, other = np.zeros((3, 224, 224, 3), np.uint8)
    left[:, :112, 0] = right[:, 112:, 0] = 255
    other[:, :, 2] = 255
    found = findings.colour_histograms(np.stack([left, right, other]))

    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found @ found.T, [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-6)


def test_a_title_loses_a_word_and_its_year() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        left = findings.without_a_word("The Silent Sea (1999)", rng)
        assert left in ("Silent Sea", "The Sea", "The Silent")
    assert findings.without_a_word("Heat (1995)", rng) is None


def test_targets_are_ranked_and_names_find_their_kind() -> None:
    vectors = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0.5, 0], [1, 0.5, 0], [1, 1, 1]], np.float32)
    assert findings.ranks_of_targets(queries, vectors, np.array([0, 2, 1])).tolist() == [0, 2, 1]

    flags = np.array([[1], [1], [0]], bool)
    assert findings.found_by_word(queries[:1], vectors, flags).tolist() == [2 / 3]
