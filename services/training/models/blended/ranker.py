"""Learn to rank candidates by the live features: a curve for each, added up.

The curves are piecewise linear between quantiles of what was seen, level beyond them, and 0 where a
feature is absent, which is 0. They begin as the straight lines of a prior, which is what serves
without training, and leave it as far as examples speak for that. So the score is the sum of what
each feature adds, Explain can say it exactly, and a candidate's score does not depend on which
others stand beside it. The targets are made likeliest among their candidates, which has one
optimum: no seed decides.

Legend: n candidates; f features; k knots of a curve; e candidates of all examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from scipy import optimize, sparse

from services.training.data.histories import Floats, Ints
from services.training.models.model import CONFIG, TENSORS, Amount, Config, Size
from services.training.models.registry import RANKER

SCALE_AT_MOST: Final = 10.0  # of the prior: log-odds to its unit
OPSET: Final = 18
IR_VERSION: Final = 10  # of opset 18's time: older runtimes read it

Doubles = NDArray[np.float64]


class Example(NamedTuple):
    """Candidates of one request, and which of them was chosen."""

    features: Floats  # (n, f)
    chosen: int  # row


class RankerConfig(Config, frozen=True):
    """How finely curves are drawn, and how smooth they are kept."""

    knots: Size = 16  # of each curve, at quantiles of what was seen
    loyalty: Amount = 100.0  # ridge on leaving the prior's steps between knots, as so many examples
    rounds: Size = 200  # of L-BFGS, at most


class AdditiveRanker:
    """Adds a curve of each feature; exported, its contributions are called as the features."""

    name = RANKER
    paper = "generalised additive models, Hastie & Tibshirani 1986; listwise, Cao 2007 (ListNet)"

    def __init__(self, features: Sequence[str], config: RankerConfig | None = None) -> None:
        self.features = tuple(features)
        self.config = config if config is not None else RankerConfig()

    def fit(self, examples: Iterable[Example], prior: Mapping[str, float] | None = None) -> None:
        """Learn from what was chosen among candidates. Raises ValueError without examples.

        prior: slopes by feature, 0 for others; their common scale does not matter.
        """
        kept = [example for example in examples if len(example.features) > 1]
        if not kept:
            raise ValueError("a ranker needs examples with two candidates or more, has none")
        table = np.concatenate([example.features for example in kept])  # (e, f)
        self.knots = _knots(table, self.config.knots)  # (f, k)
        starts = np.cumsum([0, *(len(example.features) for example in kept)])
        chosen = starts[:-1] + [example.chosen for example in kept]
        basis = sparse.hstack(
            [_hats(column, knots) for column, knots in zip(table.T, self.knots, strict=True)],
            format="csr",
        )
        slopes = np.array([(prior or {}).get(name, 0.0) for name in self.features])
        lines = slopes[:, None] * self.knots.astype(np.float64)  # (f, k)
        surprise = _Surprise(basis, starts, chosen, lines, self.config.loyalty / len(kept))
        options = {"maxiter": self.config.rounds}
        found = optimize.minimize(
            surprise, surprise.scaled_lines(), jac=True, method="L-BFGS-B", options=options
        )
        heights = found.x.reshape(self.knots.shape)
        absent = [np.interp(0, *curve) for curve in zip(self.knots, heights, strict=True)]
        self.heights = (heights - np.array(absent)[:, None]).astype(np.float32)  # (f, k)

    def contributions(self, features: Floats) -> Floats:
        """Return what each feature adds, (n, f); a row's sum is its score."""
        curves = zip(features.T, self.knots, self.heights, strict=True)
        added: Floats = np.stack([np.interp(*curve) for curve in curves], axis=1).astype(np.float32)
        return added

    def score(self, features: Floats) -> Floats:
        """Return the scores, (n,), higher is better."""
        scores: Floats = self.contributions(features).sum(axis=1)
        return scores

    def save(self, folder: Path) -> None:
        """Write configuration and curves."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {"model": self.name, "features": self.features, "config": self.config}
        (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(described)))
        save_file({"knots": self.knots, "heights": self.heights}, folder / TENSORS)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ValueError where it is something else's."""
        described = msgspec.json.decode((folder / CONFIG).read_bytes())
        if described.get("model") != cls.name:
            raise ValueError(f"{folder} holds {described.get('model')!r}, not {cls.name!r}")
        ranker = cls(described["features"], msgspec.convert(described["config"], RankerConfig))
        tensors = load_file(folder / TENSORS)
        ranker.knots, ranker.heights = tensors["knots"], tensors["heights"]
        return ranker

    def export(self, path: Path) -> None:
        """Write the ONNX model that ranking loads: (n, f) → (n, f) contributions.

        A curve is Σ bend · max(x - knot, 0): where a slope changes, and by how much.
        """
        rises = np.diff(self.heights.astype(np.float64), axis=1)
        slopes = rises / np.diff(self.knots.astype(np.float64), axis=1)
        bends = np.diff(slopes, axis=1, prepend=0, append=0).astype(np.float32)  # (f, k)
        tensors = {
            "axis": np.array([2]),
            "knots": self.knots,
            "bends": bends,
            "first": self.heights[:, 0],
        }
        nodes = [
            helper.make_node("Unsqueeze", ["features", "axis"], ["columns"]),  # (n, f, 1)
            helper.make_node("Sub", ["columns", "knots"], ["beyond"]),  # (n, f, k)
            helper.make_node("Relu", ["beyond"], ["reached"]),
            helper.make_node("Mul", ["reached", "bends"], ["bent"]),
            helper.make_node("ReduceSum", ["bent", "axis"], ["risen"], keepdims=0),  # (n, f)
            helper.make_node("Add", ["risen", "first"], ["contributions"]),
        ]
        shape: list[str | int | None] = ["n", len(self.features)]
        graph = helper.make_graph(
            nodes,
            self.name,
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("contributions", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in tensors.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        names = json.dumps(self.features)
        helper.set_model_props(model, {"features": names, "parts": names})
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())


class _Surprise:
    """Is the mean negative log-likelihood of what was chosen, and the ridge; with its gradient.

    The ridge is on steps from knot to knot less those of lines, at the scale that suits best.
    """

    def __init__(
        self,
        basis: sparse.csr_array,  # (e, f · k)
        starts: Ints,
        chosen: Ints,
        lines: Doubles,  # (f, k)
        ridge: float,
    ) -> None:
        self._basis, self._starts, self._chosen = basis, starts, chosen
        self._lines, self._ridge = lines, ridge
        self._met = np.asarray(basis[chosen].mean(axis=0)).ravel()

    def scaled_lines(self) -> Doubles:
        """Find the scale of the lines, which the ridge takes from now on; return them, (f · k,)."""
        found = optimize.minimize_scalar(
            lambda scale: self._likelihood(scale * self._lines.ravel())[0],
            bounds=(0, SCALE_AT_MOST),
            method="bounded",
        )
        self._lines = found.x * self._lines
        flat: Doubles = self._lines.ravel()
        return flat

    def __call__(self, heights: Doubles) -> tuple[float, Doubles]:
        """Return value and gradient at heights, (f · k,)."""
        value, gradient = self._likelihood(heights)
        steps = np.diff(heights.reshape(self._lines.shape) - self._lines, axis=1)
        pull = np.diff(steps, axis=1, prepend=0, append=0)  # how far a knot is below its neighbours
        value += self._ridge * float(np.square(steps).sum())
        return value, gradient - 2 * self._ridge * pull.ravel()

    def _likelihood(self, heights: Doubles) -> tuple[float, Doubles]:
        first, lengths = self._starts[:-1], np.diff(self._starts)
        scores = self._basis @ heights
        scores -= np.repeat(np.maximum.reduceat(scores, first), lengths)
        likely = np.exp(scores)
        totals = np.add.reduceat(likely, first)
        value = float((np.log(totals) - scores[self._chosen]).mean())
        likely /= np.repeat(totals, lengths)
        return value, self._basis.T @ likely / len(first) - self._met


def _knots(table: Floats, k: int) -> Floats:
    """Return ascending knots of each feature, (f, k): quantiles of its distinct values."""
    knots = np.empty((table.shape[1], k), np.float32)
    for row, column in enumerate(table.T):
        values = np.unique(column)
        some = np.quantile(values, np.linspace(0, 1, k)) if len(values) >= k else values
        some = np.unique(some.astype(np.float32))
        # Too few values: what is missing lies beyond them, where nothing was seen.
        further = some[-1] + np.arange(1, k - len(some) + 1, dtype=np.float32)
        knots[row] = np.concatenate([some, further])
    return knots


def _hats(column: Floats, knots: Floats) -> sparse.csr_array:
    """Return how much of each knot's height a value gets, (e, k): linear between neighbours."""
    k = len(knots)
    after = np.clip(np.searchsorted(knots, column, side="right"), 1, k - 1)
    width = knots[after] - knots[after - 1]
    share = np.clip((column - knots[after - 1]) / width, 0, 1).astype(np.float64)
    rows = np.tile(np.arange(len(column)), 2)
    values = np.concatenate([1 - share, share])
    columns = np.concatenate([after - 1, after])
    return sparse.csr_array((values, (rows, columns)), (len(column), k))
