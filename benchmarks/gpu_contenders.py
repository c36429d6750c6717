"""Click models on a device: this project, a bare FBGEMM kernel with the same dense part, torchrec's own DLRM."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import generated
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gpu_settings import BOTTOM, NUM_FEATURES, TOP, Schema, Setting, sizes_of

from recsys.data.batch import Batch
from recsys.tables import RowWiseAdagrad
from recsys.tasks import CTRTask

Step = Callable[[int], Any]


def fused_adam(parameters: Any) -> torch.optim.Optimizer:
    """Adam in one kernel."""
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def in_bf16(device: torch.device) -> torch.autocast:
    """The precision of all contenders."""
    return torch.autocast(device.type, torch.bfloat16)


def ours(setting: Setting, batches: Sequence[Batch], device: torch.device, **options: bool) -> Step:
    """CTRTask in a plain loop."""
    schema: Any = Schema(sizes_of(setting))
    task = CTRTask(
        setting.module,
        schema,
        setting.embedding_dim,
        table_optimizer=RowWiseAdagrad(0.01),
        optimizer=fused_adam,
        **options,
    )
    task.collection = task.table_settings.build(device)
    task.collection.lookup.gradients.may_be_scaled = False
    task.to(device)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = task.configure_optimizers()

    def step(number: int) -> None:
        optimizer.zero_grad()
        with in_bf16(device):
            loss = task.training_step(batches[number % len(batches)], number)
        loss.backward()
        optimizer.step()

    return step


def bare(setting: Setting, batches: Sequence[Batch], device: torch.device) -> Step:
    """FBGEMM's kernel with a table for every column, and the same dense part, with nothing around them."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    on_cpu, dim = device.type == "cpu", setting.embedding_dim
    place = EmbeddingLocation.HOST if on_cpu else EmbeddingLocation.DEVICE
    compute = ComputeDevice.CPU if on_cpu else ComputeDevice.CUDA
    kernel = SplitTableBatchedEmbeddingBagsCodegen(
        [(size, dim, place, compute) for size in sizes_of(setting)],
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=0.01,
        pooling_mode=PoolingMode.SUM,
        bounds_check_mode=BoundsCheckMode.NONE,
        device=device,
    )
    kernel.init_embedding_weights_uniform(-0.01, 0.01)
    model = setting.module(NUM_FEATURES, dim, generated.NUM_DENSE).to(device)
    optimizer = fused_adam(model.parameters())
    offsets = torch.arange(NUM_FEATURES * setting.batch_size + 1, dtype=torch.int32, device=device)

    def step(number: int) -> None:
        batch = batches[number % len(batches)]
        optimizer.zero_grad()
        with in_bf16(device):
            vectors = kernel(batch.ids.reshape(-1), offsets).view(-1, NUM_FEATURES, dim)
            loss = F.binary_cross_entropy_with_logits(model(vectors, batch.dense).float(), batch.labels)
        loss.backward()
        optimizer.step()

    return step


def torchrec_dlrm(setting: Setting, batches: Sequence[Batch], device: torch.device) -> Step:
    """DLRM of torchrec in DistributedModelParallel, on one process, its rows stepped in the backward pass."""
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.model_parallel import DistributedModelParallel
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
    from torchrec.models.dlrm import DLRM as TorchrecDLRM
    from torchrec.optim import RowWiseAdagrad as TorchrecAdagrad
    from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward

    if not dist.is_initialized():
        file = Path(tempfile.mkdtemp()) / "group"
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{file}", rank=0, world_size=1)
    dim, sizes = setting.embedding_dim, sizes_of(setting)
    configs = [
        EmbeddingBagConfig(name=f"t{i}", embedding_dim=dim, num_embeddings=size, feature_names=[f"C{i}"])
        for i, size in enumerate(sizes)
    ]
    collection = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
    apply_optimizer_in_backward(TorchrecAdagrad, collection.parameters(), {"lr": 0.01})
    net = TorchrecDLRM(collection, generated.NUM_DENSE, [*BOTTOM, dim], [*TOP, 1], dense_device=device)
    sharder: Any = EmbeddingBagCollectionSharder()
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=1, compute_device=device.type, local_world_size=1),
        constraints={config.name: ParameterConstraints(sharding_types=["table_wise"]) for config in configs},
    )
    model = DistributedModelParallel(net, device=device, plan=planner.plan(net, [sharder]), sharders=[sharder])
    dense = [value for name, value in model.named_parameters() if "embedding_bags" not in name]
    optimizer = fused_adam(dense)
    names, ones = (
        [f"C{i}" for i in range(NUM_FEATURES)],
        torch.ones(NUM_FEATURES * setting.batch_size, dtype=torch.int32, device=device),
    )
    jagged = [
        KeyedJaggedTensor(names, batch.ids.reshape(-1), lengths=ones, stride=setting.batch_size) for batch in batches
    ]

    def step(number: int) -> None:
        batch = batches[number % len(batches)]
        optimizer.zero_grad()
        with in_bf16(device):
            logits = model(batch.dense, jagged[number % len(batches)]).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(logits.float(), batch.labels)
        loss.backward()
        optimizer.step()

    return step
