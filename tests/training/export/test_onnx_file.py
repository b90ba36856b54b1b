"""An exported file holds a network and nothing of where it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from services.training.export.onnx_file import write_onnx
from tests.servers import ROOT


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 3, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        events: Tensor = self.layer(rows)[0]
        return events[:, -1]


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_file_says_nothing_of_the_checkout_that_wrote_it(
    tmp_path: Path, *, recurrent: bool
) -> None:
    torch.manual_seed(0)
    network = Recurrent() if recurrent else nn.Sequential(nn.Linear(4, 3), nn.GELU())
    example = torch.zeros(2, 5, 4) if recurrent else torch.zeros(2, 4)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    for path in (first, second):
        write_onnx(network, path, {"rows": example}, "found", recurrent=recurrent)

    assert first.read_bytes() == second.read_bytes()
    for told in (str(ROOT), "site-packages", ".py"):
        assert told.encode() not in first.read_bytes()
