"""Say how wrong scores are: losses with one signature, and the softmax over every item.

Legend: n positions asked; k negatives; i items; d dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

# (n,) scores of what came next, (n, k) of what did not (-inf: not to be counted) → () mean
Loss = Callable[[Tensor, Tensor], Tensor]

AT_ONCE: Final = 512  # positions whose scores of every item stand in memory together, on a CPU
LEAST: Final = 1e-37  # probability of which a logarithm is taken


def sampled_softmax(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the cross entropy of the positive among itself and the negatives."""
    scores = torch.cat([positive[:, None], negative], 1)
    return (scores.logsumexp(1) - positive).mean()


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the binary cross entropy, every pair of it (SASRec as published, 1808.09781)."""
    return gbce(positive, negative, beta=1.0)


def gbce(positive: Tensor, negative: Tensor, *, beta: float) -> Tensor:
    """Return the generalised binary cross entropy: sigmoid(positive) ** beta (2308.07192)."""
    return (-beta * F.logsigmoid(positive) + F.softplus(negative).sum(1)).mean()


def gbce_beta(negatives: int, items: int, calibration: float) -> float:
    """Return the power that undoes the overconfidence of few negatives (2308.07192, eq. 12).

    calibration: 0 for plain BCE, 1 for scores that are as calibrated as those of all items.
    """
    share = min(negatives / (items - 1), 1.0)
    return share * (calibration * (1 - 1 / share) + 1 / share)


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Return how surely the positive stands above each negative (1205.2618)."""
    return -F.logsigmoid(positive[:, None] - negative).mean()


def bpr_max(positive: Tensor, negative: Tensor, *, regularisation: float = 1.0) -> Tensor:
    """Return BPR against the negatives in proportion to their softmax (GRU4Rec, 1706.03847)."""
    share = negative.softmax(1)
    above = (share * (positive[:, None] - negative).sigmoid()).sum(1)
    counted = torch.where(negative.isinf(), 0, negative)
    return (regularisation * (share * counted.square()).sum(1) - (above + 1e-24).log()).mean()


LOSSES: Final[Mapping[str, Loss]] = {
    "sampled-softmax": sampled_softmax,
    "bce": bce,
    "bpr": bpr,
    "bpr-max": bpr_max,
}


def generalised(negatives: int, items: int, calibration: float) -> Loss:
    """Return gBCE for so many negatives, uniformly drawn, of so many items.

    Scores are read from what any item's chance is, one of all: else the first thing that all items
    learn is to be unlikely, which makes their vectors alike, and with them what is told of events.
    """
    loss, level = partial(gbce, beta=gbce_beta(negatives, items, calibration)), math.log(items)
    return lambda positive, negative: loss(positive - level, negative - level)


def without_hits(negative: Tensor, negatives: Tensor, targets: Tensor) -> Tensor:
    """Return scores (n, k) with those of the target (n,) at -inf; negatives (k,) or (n, k)."""
    return negative.masked_fill(targets[:, None] == negatives, -torch.inf)


# positions → (positions, i) whether an item is not counted, the target never
Uncounted = Callable[[slice], Tensor]


def full_softmax(
    queries: Tensor,  # (n, d)
    items: Tensor,  # (i, d)
    targets: Tensor,  # (n,)
    uncounted: Uncounted | None = None,
) -> Tensor:
    """Return the cross entropy of the targets among every item that is counted, () mean.

    On a CPU the scores of some positions at a time are turned into gradients at once, so that they
    stay in its cache and are calculated once.
    """
    if queries.device.type == "cpu" and torch.is_grad_enabled():
        loss: Tensor = _InParts.apply(queries, items, targets, uncounted)
        return loss
    scores = queries @ items.T
    if uncounted is not None:
        scores = scores.masked_fill(uncounted(slice(None)), -torch.inf)
    return F.cross_entropy(scores, targets)


class _InParts(torch.autograd.Function):
    """Cross entropy whose gradients are found on the way forth (as Liger Kernel's, 2410.10989)."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, items: Tensor, targets: Tensor, uncounted: Uncounted | None
    ) -> Tensor:
        in_bf16 = torch.is_autocast_enabled("cpu")
        d_queries, d_items = torch.empty(queries.shape), torch.zeros(items.shape)
        total = torch.zeros(())
        with torch.autocast("cpu", enabled=False):
            every = items.to(torch.bfloat16 if in_bf16 else torch.float32)
            for start in range(0, len(queries), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                some, wanted = queries[part].to(every.dtype), targets[part, None]
                scores = some @ every.T
                if uncounted is not None:
                    scores.masked_fill_(uncounted(part), -torch.inf)
                shares = scores.softmax(1)  # and then the gradient by the scores
                total -= shares.gather(1, wanted).float().clamp_min(LEAST).log().sum()
                shares.scatter_add_(1, wanted, shares.new_full(wanted.shape, -1))
                d_queries[part] = shares @ every
                d_items += shares.T @ some
        n = len(queries)
        ctx.save_for_backward(d_queries.div_(n).to(queries.dtype), d_items.div_(n).to(items.dtype))
        return total / n

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_queries, d_items = ctx.saved_tensors
        return d_queries * gradient, d_items * gradient, None, None
