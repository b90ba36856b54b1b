"""Losses are those of their papers, by small cases that are worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from services.training.learn import losses

POSITIVE = torch.tensor([1.0, -0.5])
NEGATIVE = torch.tensor([[0.0, 2.0], [0.5, -torch.inf]])


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_a_loss_falls_as_the_positive_rises_and_passes_over_what_is_not_counted(name: str) -> None:
    loss = losses.LOSSES[name]
    positive = POSITIVE.clone().requires_grad_()
    value = loss(positive, NEGATIVE)
    torch.autograd.backward(value)
    assert math.isfinite(value.item())
    assert positive.grad is not None
    assert (positive.grad < 0).all()


def test_sampled_softmax_is_cross_entropy_among_what_was_drawn() -> None:
    scores = torch.cat([POSITIVE[:, None], NEGATIVE], 1)
    expected = F.cross_entropy(scores, torch.zeros(2, dtype=torch.long))
    assert losses.sampled_softmax(POSITIVE, NEGATIVE).item() == pytest.approx(expected.item())


def test_gbce_without_calibration_is_bce_and_with_it_weighs_the_positive_less() -> None:
    assert losses.gbce_beta(256, 3416, 0) == pytest.approx(1)
    assert losses.gbce_beta(256, 3416, 1) == pytest.approx(256 / 3415)
    plain = losses.generalised(256, 3416, 0)(POSITIVE, NEGATIVE)
    level = math.log(3416)
    assert plain.item() == pytest.approx(losses.bce(POSITIVE - level, NEGATIVE - level).item())


def test_bpr_max_weighs_the_negatives_by_their_softmax() -> None:
    share = torch.tensor([0.0, 2.0]).softmax(0)
    above = share @ torch.sigmoid(torch.tensor([1.0, -1.0]))
    expected = (share @ torch.tensor([0.0, 4.0]) - above.log()).item()
    found = losses.bpr_max(POSITIVE[:1], NEGATIVE[:1]).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_negative_that_is_the_target_is_not_counted() -> None:
    scores = losses.without_hits(torch.zeros(2, 3), torch.tensor([4, 5, 6]), torch.tensor([5, 1]))
    assert scores.tolist() == [[0, -math.inf, 0], [0, 0, 0]]


@pytest.mark.parametrize("passed_over", [False, True])
def test_softmax_in_parts_equals_that_of_the_whole_with_its_gradients(
    passed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "AT_ONCE", 4)
    torch.manual_seed(0)
    queries, items = torch.randn(10, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    targets = torch.randint(0, 7, (10,))
    uncounted = (torch.rand(10, 7) < 0.3).scatter_(1, targets[:, None], False)
    if not passed_over:
        uncounted[:] = False

    found = losses.full_softmax(queries, items, targets, uncounted.__getitem__)
    by_parts = torch.autograd.grad(2 * found, [queries, items])
    scores = (queries @ items.T).masked_fill(uncounted, -torch.inf)
    whole = F.cross_entropy(scores, targets)
    expected = torch.autograd.grad(2 * whole, [queries, items])

    torch.testing.assert_close(found, whole)
    torch.testing.assert_close(by_parts, expected)


def test_softmax_in_bf16_is_that_of_float32_but_for_rounding() -> None:
    torch.manual_seed(0)
    queries, items = torch.randn(600, 8, requires_grad=True), torch.randn(90, 8, requires_grad=True)
    targets = torch.randint(0, 90, (600,))
    whole = losses.full_softmax(queries, items, targets)
    expected = torch.autograd.grad(whole, [queries, items])
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.full_softmax(queries, items, targets)
    gradients = torch.autograd.grad(found, [queries, items])

    torch.testing.assert_close(found, whole, rtol=0.01, atol=0.01)
    for one, other in zip(gradients, expected, strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), 0) > 0.999
