"""Look up and fit a table that two processes share, as one process would that holds all of it."""

from __future__ import annotations

import torch

from services.training.learn import distributed
from services.training.learn.sharded import ShardedTable


def main() -> None:
    torch.set_num_threads(1)
    distributed.join()
    rank = torch.distributed.get_rank()
    weights = torch.arange(40.0).view(10, 4)
    numbers = torch.tensor([[7, 1, 9], [0, 7, 4]])
    table = ShardedTable(weights)
    found = table(numbers[rank])
    torch.testing.assert_close(found, weights[numbers[rank]])

    table.table.zero_grad()
    (found.sum() * torch.distributed.get_world_size()).backward()
    for rows in table.own():
        assert rows.grad is not None
        rows.data.add_(rows.grad, alpha=-0.1)
    one = weights.clone().requires_grad_()
    torch.autograd.backward(one[numbers.flatten()].sum())
    assert one.grad is not None
    expected = (one - 0.1 * one.grad).detach()
    torch.testing.assert_close(table(torch.arange(10)).detach(), expected)
    assert sum(rows.numel() for rows in table.own()) < weights.numel()


if __name__ == "__main__":
    main()
