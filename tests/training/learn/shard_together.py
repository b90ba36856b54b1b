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
    table = ShardedTable(weights, learning_rate=0.1)
    found = table(numbers[rank])
    torch.testing.assert_close(found, weights[numbers[rank]])

    torch.autograd.backward(found.sum())
    one = weights.clone().requires_grad_()
    mean = one[numbers.flatten()].sum() / torch.distributed.get_world_size()
    (gradient,) = torch.autograd.grad(mean, one)
    expected = (one - 0.1 * gradient).detach()
    torch.testing.assert_close(table(torch.arange(10)).detach(), expected)
    assert table.held() < len(weights)


if __name__ == "__main__":
    main()
