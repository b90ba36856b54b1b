"""A MovieLens folder as a dataset."""

from __future__ import annotations

from pathlib import Path

from services.training.data import movielens


def test_users_who_rated_have_their_attributes_by_the_names_that_serving_has(
    tmp_path: Path,
) -> None:
    (tmp_path / "ratings.dat").write_text("7::1::5::978300760\n9::1::3::978300761\n")
    (tmp_path / "movies.dat").write_text("1::Toy Story (1995)::Comedy\n")
    (tmp_path / "users.dat").write_text("7::F::25::20::48067\n8::M::1::10::55117\n")
    data = movielens.read(tmp_path)
    assert data.user_ids == ("7", "9")
    assert data.attributes == {
        "7": {"gender": "F", "age": "25-34", "occupation": "writer", "zip_code": "48067"}
    }
