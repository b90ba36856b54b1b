"""Keep each process of the tests to one thread: sums have one order, and others have room."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
