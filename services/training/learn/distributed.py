"""Fit in several processes, as torchrun starts them, what one process would have fitted.

Every process holds all data and all weights, draws the same batches by the same seed, and takes its
share of each one's windows; gradients are averaged so that each event counts alike. What a process
draws for its share alone, as dropout, differs from what one process draws.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, distributed

from services.training.data.histories import Ints


def join() -> None:
    """Meet the other processes, where torchrun started this one; each takes its accelerator."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(distributed.destroy_process_group)


def processes() -> int:
    """Return how many fit together, 1: this one alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Say whether this process is the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def share(sizes: Ints) -> tuple[Ints, float]:
    """Return which windows of a step are this process's, and by what its mean loss is multiplied.

    sizes: (b,) events that each asks. The mean of all processes' losses is then that of the step.
    """
    every, of = np.arange(len(sizes)), processes()
    if of == 1:
        return every, 1.0
    own = every[distributed.get_rank() :: of]
    if not len(own):  # fewer windows than processes: all must take part in each step
        return every[:1], 0.0
    return own, of * float(sizes[own].sum() / sizes.sum())


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replace each by its mean over the processes."""
    if processes() == 1:
        return
    there = [each for each in tensors if each is not None]
    # All at once: a message costs more than what it holds.
    flat = torch.cat([each.flatten() for each in there]) / processes()
    distributed.all_reduce(flat)
    for each, mean in zip(there, torch.split(flat, [each.numel() for each in there]), strict=True):
        each.copy_(mean.view_as(each))


def any_of(flag: bool) -> bool:
    """Say whether any process says so, so that all end together."""
    if processes() == 1:
        return flag
    said = torch.tensor(float(flag))
    distributed.all_reduce(said, distributed.ReduceOp.MAX)
    return bool(said)
