"""Click models raced on a device: this project, a bare FBGEMM kernel with the same dense part, torchrec's own DLRM."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import generated
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gpu_floor import Rates, product_flops, row_bytes, synchronize
from lightning.pytorch import Callback, Trainer
from torch import nn

from recsys.data import Column, CTRDataModule
from recsys.data.batch import Batch
from recsys.models import DLRM, DeepFM
from recsys.tables import RowWiseAdagrad
from recsys.tasks import CTRTask

NUM_FEATURES, NUM_BATCHES = 26, 6
BOTTOM, TOP, HIDDEN = (512, 256), (1024, 1024, 512, 256), (400, 400)
Step = Callable[[int], Any]


@dataclass(frozen=True)
class Setting:
    """A model, its width D and batch B, and the rows of its largest column."""

    model: str
    embedding_dim: int
    batch_size: int
    largest: int = 1_000_000

    def __str__(self) -> str:
        return f"{self.model} dim {self.embedding_dim} batch {self.batch_size:,}"

    def module(self, *sizes: int) -> nn.Module:
        """The dense part."""
        if self.model == "DLRM":
            return DLRM(*sizes, bottom_dims=BOTTOM, top_dims=TOP)
        return DeepFM(*sizes, hidden_dims=HIDDEN)

    @property
    def flops(self) -> float:
        """Of the products of a step."""
        dim, count = self.embedding_dim, NUM_FEATURES + 1
        if self.model == "DLRM":
            stacks = [(generated.NUM_DENSE, *BOTTOM, dim), (dim + count * (count - 1) // 2, *TOP, 1)]
            return product_flops(self.batch_size, stacks, count, dim)
        return product_flops(self.batch_size, [(NUM_FEATURES * dim + generated.NUM_DENSE, *HIDDEN, 1)], 0, dim)


SETTINGS = (
    Setting("DLRM", 128, 65_536),
    Setting("DeepFM", 16, 32_768),
    Setting("DLRM", 16, 65_536),
    Setting("DLRM", 128, 32_768),
    Setting("DLRM", 16, 32_768),
    Setting("DLRM", 128, 4_096),
    Setting("DLRM", 16, 4_096),
    Setting("DeepFM", 16, 65_536),
    Setting("DeepFM", 16, 4_096),
)
"""Those with a goal come first."""
GRAPHS: dict[str, dict[str, bool]] = {
    "captured": {"capture_model": True},
    "compiled, captured": {"compile_model": True, "capture_model": True},
}
"""What a GPU can do about a dense part of many small kernels."""
FED = (Setting("DLRM", 128, 65_536), Setting("DeepFM", 16, 32_768))
QUICK = (Setting("DLRM", 16, 512, 2_000), Setting("DeepFM", 16, 512, 2_000))


def sizes_of(setting: Setting) -> list[int]:
    """Rows of every column."""
    return generated.geometric_rows(setting.largest, NUM_FEATURES)


class Schema:
    """Stands in for that of a folder."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.categorical = tuple(Column(f"C{i + 1}", "categorical", size) for i, size in enumerate(sizes))
        self.columns, self.multi_valued = self.categorical, ()
        self.dense = tuple(f"I{i + 1}" for i in range(generated.NUM_DENSE))


def batches_of(setting: Setting, device: torch.device) -> list[Batch]:
    """Generated batches, on the device; in page-locked memory where that is the CPU of a GPU's host."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(NUM_BATCHES):
        uniform = torch.rand(NUM_FEATURES, setting.batch_size, generator=generator)
        # As frequent as in generated.zipf_ids.
        sizes = torch.tensor(sizes_of(setting)).unsqueeze(1)
        ids = (((sizes + 1).double() ** -0.05 - 1) * uniform + 1) ** -20
        ids = torch.minimum(ids.long() - 1, sizes - 1).clamp(min=0).int()
        dense = torch.rand(setting.batch_size, generated.NUM_DENSE, generator=generator)
        labels = (torch.rand(setting.batch_size, generator=generator) < 0.25).float()
        batch = Batch(ids, {}, dense, labels)
        found.append((batch.pin_memory() if torch.cuda.is_available() else batch).to(device))
    return found


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


def race(
    setting: Setting, device: torch.device, rates: Rates, report: Any, deadline: Any, quick: bool
) -> list[dict[str, Any]]:
    """A row for every contender: its rate, memory, and its time beside the floor's and beside the bare loop's."""
    batches = batches_of(setting, device)
    made: dict[str, Callable[[], Step]] = {
        "bare FBGEMM": lambda: bare(setting, batches, device),
        "recsys": lambda: ours(setting, batches, device),
    }
    if device.type == "cuda":
        made |= {
            f"recsys, {name}": lambda options=options: ours(setting, batches, device, **options)
            for name, options in GRAPHS.items()
        }
    if setting.model == "DLRM":
        made["torchrec DLRM"] = lambda: torchrec_dlrm(setting, batches, device)
    steps: dict[str, Step] = {}
    memory: dict[str, float] = {}
    for name, make in made.items():
        before = _allocated(device)
        found = report.attempt(f"{setting}, {name}", deadline, lambda make=make: _warm(make(), device))
        if found is not None:
            steps[name], memory[name] = found, (_peak(device) - before) / 1e9
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    num_steps, rounds = (2, 2) if quick else (min(64, max(10, (1 << 21) // setting.batch_size)), 5)
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(_timed(step, num_steps, device))
    floor = rates.seconds(row_bytes([batch.ids for batch in batches[:1]], setting.embedding_dim), setting.flops)
    medians = {name: median(each) for name, each in seconds.items()}
    return [
        {
            "setting": str(setting),
            "contender": name,
            "M samples/s": setting.batch_size / each / 1e6,
            "ms": 1e3 * each,
            "x bare": medians.get("bare FBGEMM", float("nan")) / each,
            "of floor": floor / each,
            "peak GB": memory[name],
        }
        for name, each in medians.items()
    ]


def _warm(step: Step, device: torch.device) -> Step:
    for number in range(5):
        step(number)
    synchronize(device)
    return step


def _timed(step: Step, num_steps: int, device: torch.device) -> float:
    """Seconds a step."""
    synchronize(device)
    start = perf_counter()
    for number in range(num_steps):
        step(number)
    synchronize(device)
    return (perf_counter() - start) / num_steps


def _allocated(device: torch.device) -> float:
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats(device)
    return float(torch.cuda.memory_allocated(device))


def _peak(device: torch.device) -> float:
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0


class Repeated:
    """Batches in memory, again and again."""

    def __init__(self, batches: Sequence[Batch], num_batches: int) -> None:
        self._batches, self._num_batches = batches, num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        return (self._batches[i % len(self._batches)] for i in range(self._num_batches))


class Stopwatch(Callback):
    """Seconds from one step to another, a GPU's work included."""

    def __init__(self, first: int, last: int, device: torch.device) -> None:
        self.first, self.last, self.device = first, last, device
        self.times: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step in (self.first, self.last):
            synchronize(self.device)
            self.times[trainer.global_step] = perf_counter()


def under_the_trainer(
    setting: Setting, folder: Path, source: str, graphs: str | None, device: torch.device, num_steps: int
) -> dict[str, Any]:
    """Samples per second of `trainer.fit`, fed from memory or from Parquet."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    before = _allocated(device)
    data = CTRDataModule(folder, setting.batch_size, drop_last=True)
    task = CTRTask(
        setting.module,
        data.schema,
        setting.embedding_dim,
        table_optimizer=RowWiseAdagrad(0.01),
        optimizer=fused_adam,
        **(GRAPHS[graphs] if graphs else {}),
    )
    watch = Stopwatch(10, 10 + num_steps, device)
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    trainer = Trainer(
        max_steps=10 + num_steps,
        max_epochs=-1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        callbacks=[watch],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        **dict.fromkeys(quiet, False),
    )
    if source == "memory":
        trainer.fit(task, train_dataloaders=Repeated(batches_of(setting, torch.device("cpu")), 10 + num_steps))
    else:
        trainer.fit(task, datamodule=data)
    seconds = (watch.times[watch.last] - watch.times[watch.first]) / num_steps
    return {
        "setting": str(setting),
        "contender": f"recsys{f', {graphs}' if graphs else ''}, from {source}",
        "M samples/s": setting.batch_size / seconds / 1e6,
        "ms": 1e3 * seconds,
        "peak GB": (_peak(device) - before) / 1e9,
    }
