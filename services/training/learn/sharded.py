"""Hold tables of vectors that no single process has room for, by TorchRec: each holds some rows.

TorchRec needs fbgemm's operators; where those do not load, importing this raises ImportError or
OSError: fbgemm-gpu-cpu 1.9 loads with PyTorch 2.14 and TorchRec 1.9, not with PyTorch 2.15.

Legend: n numbers; r rows; d dimensions.
"""

from __future__ import annotations

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, distributed, nn
from torchrec import EmbeddingCollection, EmbeddingConfig, KeyedJaggedTensor
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.types import ParameterConstraints
from torchrec.distributed.types import ShardingEnv, ShardingType

TABLE = "rows"


class ShardedTable(nn.Module):
    """A table whose rows lie with all processes; asked like an nn.Embedding.

    Rows are fitted in passing, as their gradient comes, by SGD: by the mean over the processes.
    """

    def __init__(self, weights: Tensor, learning_rate: float) -> None:
        """weights: (r, d) the same in every process. All processes must do this together."""
        super().__init__()
        rows, dim = weights.shape
        config = EmbeddingConfig(name=TABLE, embedding_dim=dim, num_embeddings=rows)
        config.feature_names = [TABLE]
        whole = EmbeddingCollection(tables=[config], device=torch.device("cpu"))
        with torch.no_grad():
            whole.embeddings[TABLE].weight.copy_(weights)
        by_rows = ParameterConstraints(sharding_types=[ShardingType.ROW_WISE.value])
        world = distributed.get_world_size()
        planner = EmbeddingShardingPlanner(
            Topology(world_size=world, compute_device="cpu"), constraints={TABLE: by_rows}
        )
        group = distributed.group.WORLD
        assert group is not None
        fitted_by = {"optimizer": EmbOptimType.EXACT_SGD, "learning_rate": learning_rate}
        sharders = [EmbeddingCollectionSharder(fused_params=fitted_by)]
        self.table = DistributedModelParallel(
            whole,
            env=ShardingEnv.from_process_group(group),
            device=torch.device("cpu"),
            plan=planner.collective_plan(whole, sharders, group),
            sharders=sharders,
        )

    def forward(self, numbers: Tensor) -> Tensor:
        """Return rows (n, d) of numbers (n,), whichever process holds them."""
        asked = KeyedJaggedTensor([TABLE], numbers, lengths=torch.ones_like(numbers))
        found: Tensor = self.table(asked)[TABLE].values()
        return found

    def held(self) -> int:
        """Return how many rows lie here."""
        return sum(len(shard) for shard in self.table.parameters())
