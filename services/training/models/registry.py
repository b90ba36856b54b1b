"""Name every model; a module is read when its model is asked for, so that most need no PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from services.training.models.model import Model

RANKER: Final = "ranker"  # no Model: it sees features, not histories (services/training/live)

# name → module below services.training.models, class
MODELS: Final = {
    "popularity": ("references.popularity", "Popularity"),
    "recent-popularity": ("references.recent_popularity", "RecentPopularity"),
    "item-knn": ("references.item_knn", "ItemKnn"),
    "session-knn": ("references.session_knn", "SessionKnn"),
    "covisits": ("references.covisits", "Covisits"),
    "ease": ("references.ease", "Ease"),
    "ease-recency": ("references.ease", "EaseRecency"),
    "linear-next": ("references.linear_next", "LinearNext"),
    "als": ("references.als", "Als"),
    "bpr": ("references.bpr", "Bpr"),
    "visual": ("content.cosine", "VisualCosine"),
    "text": ("content.cosine", "TextCosine"),
    "content": ("content.cosine", "FusedCosine"),
    "vbpr": ("content.vbpr", "Vbpr"),
    "cdl": ("content.cdl", "Cdl"),
    "pinsage": ("content.pinsage", "PinSage"),
    "dropoutnet": ("content.dropoutnet", "DropoutNet"),
    "movie": ("content.movie", "MovieModel"),
    "sasrec": ("sequential.sasrec", "SASRec"),
    "sasrec-sampled": ("sequential.sasrec", "SampledSASRec"),
    "gsasrec": ("sequential.sasrec", "GSASRec"),
    "esasrec": ("sequential.sasrec", "ESASRec"),
    "hstu": ("sequential.hstu", "HSTU"),
    "fuxi": ("sequential.hstu", "FuXi"),
    "gru4rec": ("sequential.gru4rec", "GRU4Rec"),
    "tower": ("sequential.tower", "SessionTower"),
    "svd": ("ratings.svd", "Svd"),
    "svdpp": ("ratings.svdpp", "SvdPlusPlus"),
    "bayesian-mf": ("ratings.bayesian", "BayesianFactors"),
    "blend": ("blended.blend", "Blend"),
    "gmf": ("collaborative.ncf", "Gmf"),
    "mlp": ("collaborative.ncf", "Mlp"),
    "neumf": ("collaborative.ncf", "NeuMf"),
    "dot": ("collaborative.ncf", "Dot"),
    "autorec": ("collaborative.autorec", "AutoRec"),
    "mult-dae": ("collaborative.vae", "MultDae"),
    "mult-vae": ("collaborative.vae", "MultVae"),
    "youtube-dnn": ("collaborative.youtube", "YouTubeDnn"),
    "two-tower": ("collaborative.two_tower", "TwoTower"),
    "wide-deep": ("blended.wide_deep", "WideDeep"),
}


def model_type(name: str) -> type[Model]:
    """Return a model's class. Raises KeyError with the names that there are."""
    if name not in MODELS:
        raise KeyError(f"model must be one of {', '.join(sorted(MODELS))}, was {name}")
    module, class_name = MODELS[name]
    found: type[Model] = getattr(import_module(f"services.training.models.{module}"), class_name)
    return found
