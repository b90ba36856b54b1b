"""Say what every model promises, so that one protocol fits, chooses, tests and keeps them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.data.splits import Asked

Preset = Literal["quick", "full"]
Tensors = dict[str, NDArray[Any]]
Scoring = Callable[[Histories], Floats]

CONFIG: Final = "model.json"
TENSORS: Final = "model.safetensors"


class FitFailed(ValueError):
    """A model cannot be fitted or asked; the text says where, and what would help."""


@contextmanager
def failing_as(name: str) -> Iterator[None]:
    """Say of what fails in the body which model it was."""
    try:
        yield
    except FitFailed as error:
        raise FitFailed(f"{name}: {error}") from None


# What numbers of configurations may be; reading one holds it to that.
Size = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model can be told; each has its own, which says what its defaults were chosen by."""

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """Return the configuration of a preset; `quick` ends within half an hour on two cores."""
        return cls()


@dataclass(frozen=True, slots=True)
class Criterion:
    """What weights are chosen by: the figure's name, and whether less of it is better."""

    name: str
    less_is_better: bool = False


NDCG: Final = Criterion("ndcg@10")  # on the validation split
RMSE: Final = Criterion("rmse", less_is_better=True)  # of ratings that are held out
COSINE: Final = Criterion("cosine")  # with the rows that are to be found


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise ValueError where a width cannot be shared out among heads."""
    if width % heads:
        raise ValueError(f"{name} must be a multiple of heads, which are {heads}, was {width}")


class FitProgress:
    """Take what a fit says of its progress; this one keeps silent."""

    def step(self, done: float, of: float, **figures: float) -> None:
        """Hear that so much of it is done, with figures such as loss and what it is chosen by."""


@dataclass(slots=True)
class Run:
    """How a model is fitted: all that is neither its data nor its configuration."""

    seed: int = 0
    device: str = "cpu"
    # the criterion's figure of what scores now; None where there is nothing to choose by
    validate: Callable[[Scoring], float] | None = None
    criterion: Criterion = NDCG
    validation: Asked | None = None  # whom the weights of blends are learnt by
    checkpoints: Path | None = None  # a folder that a fit resumes from
    progress: FitProgress = field(default_factory=FitProgress)
    stopped: Callable[[], bool] = lambda: False  # asked between steps: end early, keep the best
    # another model by its name, fitted on the same data or kept from before: parts of blends
    fitted: Callable[[str], Model] | None = None


class Model(ABC):
    """Says of each item how much it expects it to come next."""

    name: ClassVar[str]  # as the command names it
    paper: ClassVar[str]  # where it is from
    config_type: ClassVar[type[Config]] = Config
    on_device: ClassVar[bool] = False  # whether it is fitted where the run says, or on processors

    def __init__(self, config: Config | None = None) -> None:
        self.config: Any = config if config is not None else self.config_type()

    @abstractmethod
    def fit(self, data: Dataset, run: Run) -> None:
        """Learn from all events of the data. Deterministic by the run's seed on one device."""

    @abstractmethod
    def score(self, histories: Histories) -> Floats:
        """Return (u, n_items) scores, higher is better; a user's row depends on that user alone.

        Items already in the history are scored like others: the protocol removes them.
        """

    @abstractmethod
    def tensors(self) -> Tensors:
        """Return all that was learnt."""

    @abstractmethod
    def restore(self, tensors: Tensors) -> None:
        """Take over what another of this configuration has learnt."""

    def save(self, folder: Path) -> None:
        """Write configuration and tensors, which hold no code."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {"model": self.name, "config": self.config}
        (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(described)))
        arrays = {name: np.ascontiguousarray(value) for name, value in self.tensors().items()}
        save_file(arrays, folder / TENSORS)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ValueError where it is another model's."""
        described = msgspec.json.decode((folder / CONFIG).read_bytes())
        if described.get("model") != cls.name:
            raise ValueError(f"{folder} holds {described.get('model')!r}, not {cls.name!r}")
        model = cls(msgspec.convert(described["config"], cls.config_type))
        model.restore(load_file(folder / TENSORS))
        return model


class ServedModel(Model):
    """Sees items and histories as unit vectors of one space, which services run as towers."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Return how many events of a history its session tower sees, the newest."""

    @abstractmethod
    def item_vectors(self) -> Floats:
        """Return the unit vectors of all items, (n_items, t)."""

    @abstractmethod
    def export_session(self, path: Path) -> None:
        """Write its session tower: `items` (b, l, t) and `mask` (b, l) → `query` (b, t).

        A history's vectors stand at the end of its row, their mask is 1.
        """

    def export_items(self, path: Path) -> bool:
        """Write what places items without events: `content` (n, d) → `tower` (n, t).

        d: of the serving space. Returns whether it has learnt such a thing from that vector alone.
        """
        return False


class ProbabilityModel(Model):
    """Says, too, how probable it is that an item came next rather than was drawn at random."""

    @property
    @abstractmethod
    def negatives(self) -> int:
        """Return how many were drawn for each that came next, where the probabilities hold."""

    @abstractmethod
    def probabilities(self, histories: Histories, candidates: NDArray[np.int64]) -> Floats:
        """Return the probability of each user's candidates, (u, c) numbers of items."""


class RatingModel(Model):
    """Predicts ratings, too."""

    @abstractmethod
    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Floats:
        """Return the rating expected of each pair of numbers, (n,)."""
