"""Ask ranking: recommend, explain, similar, search, state, forget."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.cli import endpoints
from services.cli.options import Count, Data, Json


class Likeness(StrEnum):
    """What similar items have in common."""

    VISUAL = "visual"
    TEXT = "text"
    BEHAVIOUR = "behaviour"
    BLEND = "blend"


class ScoreMethod(StrEnum):
    """How a score is split."""

    EXACT = "exact"
    SHAP = "shap"
    LIME = "lime"


User = Annotated[str, typer.Argument(help="The user's id.")]
After = Annotated[
    str, typer.Option("--after", help="Wait for this position token's effect, such as 3:1024.")
]


def recommend(
    user: User,
    data: Data,
    k: Count = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show what scores are made of.")] = (
        False
    ),
    trace: Annotated[
        bool, typer.Option("--trace", help="Show what each stage proposed or removed.")
    ] = False,
    after: After = "",
    as_json: Json = False,
) -> None:
    """List items for a user."""
    from freshet.v1.recommender_pb2 import RecommendRequest
    from services.cli import lists

    request = RecommendRequest(user_id=user, k=k, explain=explain, trace=trace, after=after)
    reply = endpoints.ask_ranking(endpoints.addresses(data), lambda stub: stub.Recommend, request)
    hidden = () if trace else ("trace",)
    lists.show(reply, lambda: lists.ranked(reply, explain=explain), as_json=as_json, hidden=hidden)


def explain(
    user: User,
    data: Data,
    item: Annotated[
        str | None, typer.Argument(help="The item's id.", show_default="all that are listed")
    ] = None,
    method: Annotated[
        ScoreMethod,
        typer.Option(
            help="exact: the parts that the score is the sum of, and what became of the item."
            " shap, lime: what its features add to an ordinary candidate's (`make training`)."
        ),
    ] = ScoreMethod.EXACT,
    k: Count = 10,
    others: Annotated[
        int,
        typer.Option(
            min=2, max=500, help="Candidates of the list that shap and lime compare with."
        ),
    ] = 100,
    ranker: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The model that scores, for shap and lime.",
            show_default="that of the served bundle",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what shap and lime draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Take an item's score for a user apart, and say what became of it on the way to the list."""
    from services.cli import explaining, lists

    where = endpoints.addresses(data)
    compared = 0 if method is ScoreMethod.EXACT else others
    items = explaining.listed(where, user, k) if item is None else [item]
    replies = [explaining.ask(where, user, each, k, compared) for each in items]
    if method is not ScoreMethod.EXACT:
        options = ["--method", method, "--seed", str(seed), *(["--json"] if as_json else [])]
        code = explaining.split(where, user, replies, ranker, options, one=item is not None)
        raise typer.Exit(code)
    if item is not None:
        lists.show(replies[0], lambda: lists.explanation(replies[0]), as_json=as_json)
    else:
        lists.show_all(replies, lists.explanation, as_json=as_json)


def similar(
    item: Annotated[str, typer.Argument(help="The item's id.")],
    data: Data,
    by: Annotated[
        Likeness, typer.Option("--by", help="What they have in common.")
    ] = Likeness.BLEND,
    k: Count = 10,
    as_json: Json = False,
) -> None:
    """List items like an item."""
    from freshet.v1.recommender_pb2 import SimilarBy, SimilarRequest
    from services.cli import lists

    how = SimilarBy.Value(f"SIMILAR_BY_{by.name}")
    request = SimilarRequest(item_id=item, by=how, k=k)
    reply = endpoints.ask_ranking(endpoints.addresses(data), lambda stub: stub.Similar, request)
    lists.show(reply, lambda: lists.ranked(reply), as_json=as_json)


def search(
    data: Data,
    text: Annotated[str | None, typer.Option("--text", help="What to look for.")] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="A picture to look for.", dir_okay=False)
    ] = None,
    k: Count = 10,
    as_json: Json = False,
) -> None:
    """List items for a text or a picture."""
    from freshet.v1.recommender_pb2 import SearchRequest
    from services.cli import lists

    if (text is None) == (image is None):
        raise typer.BadParameter("give either --text or --image")
    request = SearchRequest(k=k)
    if image is not None:
        request.image = image.read_bytes()
    else:
        request.text = text or ""
    reply = endpoints.ask_ranking(endpoints.addresses(data), lambda stub: stub.Search, request)
    lists.show(reply, lambda: lists.ranked(reply), as_json=as_json)


def state(user: User, data: Data, after: After = "", as_json: Json = False) -> None:
    """Show what is kept of a user."""
    from freshet.v1.recommender_pb2 import StateRequest
    from services.cli import lists

    request = StateRequest(user_id=user, after=after)
    reply = endpoints.ask_ranking(endpoints.addresses(data), lambda stub: stub.State, request)
    lists.show(reply, lambda: lists.user_state(reply), as_json=as_json)


def forget(user: User, data: Data, as_json: Json = False) -> None:
    """Empty a user's state, now and for every replay of older events."""
    from freshet.v1.recommender_pb2 import ForgetRequest
    from services.cli import lists

    request = ForgetRequest(user_id=user)
    reply = endpoints.ask_ranking(endpoints.addresses(data), lambda stub: stub.Forget, request)
    done = f"{reply.position}  (done once `freshet state {user} --after {reply.position}` answers)"
    lists.show(reply, lambda: done, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (recommend, explain, similar, search, state, forget):
        app.command()(command)
