"""What must hold on a GPU, as functions that raise: for pytest, and for benchmarks/gpu.py where there is no pytest.

Each takes the device, so that a CPU can check the checks.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contract import EMBEDDING_DIM, EXAMPLES, collect
from lightning.pytorch import Trainer
from torch.testing import assert_close

from recsys.checkpoints.io import FolderCheckpointIO
from recsys.data import CTRDataModule, SessionBatch
from recsys.losses import FullCrossEntropy, SampledSoftmax, UniformSampler
from recsys.models import DLRM, HSTU, BERT4Rec, DeepFM, SASRec
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables import (
    SGD,
    Adagrad,
    Adam,
    Bag,
    DenseGradient,
    FbgemmLookup,
    RowWiseAdagrad,
    TableSharding,
    TorchLookup,
)
from recsys.tasks import CTRTask, MaskedItems, NextItemTask
from recsys.tasks.base import TableTask
from tests.sharding.states import whole_state
from tests.tasks.made_items import MAX_LENGTH, Items, cyclic_sessions, padded

LOOKUPS = {"TorchLookup": TorchLookup, "FbgemmLookup": FbgemmLookup}
OPTIMIZERS = {"SGD": SGD(0.1), "Adagrad": Adagrad(0.1), "RowWiseAdagrad": RowWiseAdagrad(0.1), "Adam": Adam(0.1)}
PRECISIONS = ("bf16-mixed", "16-mixed")
KERNELS = ("fused", "fused_uvm", "fused_uvm_caching")
Check = Callable[[torch.device], None]


def table_steps(example: str, lookup: str, optimizer: str, device: torch.device) -> None:
    """Vectors, gradients and rows after each of two steps equal those of TorchLookup on a CPU."""
    shapes = (example, ["one", "bag", "two", "ones"], {"bag": "sum", "ones": "mean"})
    settings = {"optimizer": OPTIMIZERS[optimizer]}
    oracle = collect(*shapes, lookup=TorchLookup, **settings)
    tested = collect(*shapes, lookup=LOOKUPS[lookup], device=device, **settings)
    tested.load_state_dict(oracle.state_dict())
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        ids, lengths = torch.randint(0, 2_500, (2, 7), generator=generator), torch.tensor([2, 0, 3, 1, 1, 0, 4])
        values, other = torch.randint(0, 2_500, (11,), generator=generator), torch.arange(7)
        bags = {"bag": Bag(values, lengths), "ones": Bag(other, torch.ones(7, dtype=torch.int64))}
        weights = torch.randn(7, 4, EMBEDDING_DIM, generator=generator)
        expected, found = oracle(ids, bags), tested(ids.to(device), {k: bag.to(device) for k, bag in bags.items()})
        assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-6)
        for collection, vectors in ((oracle, expected), (tested, found)):
            collection.zero_grad()
            if vectors.requires_grad:
                (vectors * weights.to(vectors.device)).sum().backward()
        for (name, own), other_own in zip(oracle.named_parameters(), tested.parameters(), strict=True):
            if own.dim() and own.grad is not None:
                assert_close(other_own.grad.cpu(), own.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
        for collection in (oracle, tested):
            collection.step()
        for name in oracle.lookup.tables:
            assert_close(tested.lookup.weight(name).cpu(), oracle.lookup.weight(name), rtol=1e-3, atol=1e-5)


def _trainer(device: torch.device, folder: str, max_epochs: int, **arguments: Any) -> Trainer:
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    settings = {
        "plugins": [FolderCheckpointIO()],
        **dict.fromkeys(quiet, False),
        "num_sanity_val_steps": 0,
        "deterministic": False,
    }
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    return Trainer(
        accelerator=accelerator, devices=1, max_epochs=max_epochs, default_root_dir=folder, **{**settings, **arguments}
    )


def _fit(
    prepared: Path,
    device: torch.device,
    max_epochs: int = 1,
    ckpt_path: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> tuple[TableTask, Trainer]:
    """A small DLRM, trained."""
    data = CTRDataModule(prepared, batch_size=128)
    torch.manual_seed(0)
    task = CTRTask(
        lambda *sizes: DLRM(*sizes, bottom_dims=(8,), top_dims=(16,)),
        data.schema,
        8,
        optimizer=lambda groups: torch.optim.Adam(groups, lr=0.005),
        **(settings or {}),
    )
    trainer = _trainer(device, tempfile.mkdtemp(), max_epochs, limit_val_batches=0, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
    return task, trainer


def _state(task: TableTask) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in whole_state(task).items() if isinstance(value, torch.Tensor)}


def precision(prepared: Path, name: str, device: torch.device) -> None:
    """After an epoch the loss is near that of float32."""
    if device.type == "cpu" and name == "16-mixed":
        return
    found = []
    for each in ("32-true", name):
        found.append(_loss(prepared, *_fit(prepared, device, precision=each), device))
    assert_close(found[1], found[0], rtol=0, atol=0.02)


def _loss(prepared: Path, task: TableTask, trainer: Trainer, device: torch.device) -> torch.Tensor:
    """Of the first rows, in a trainer's precision."""
    (batch, *_) = CTRDataModule(prepared, batch_size=512, shuffle=False).train_dataloader()
    task.to(device)
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        logits = task(batch.to(device))
    assert logits.dtype == torch.float32, f"logits are {logits.dtype}"
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.cpu(), batch.labels)


CAPTURED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "accumulated": {"accumulate_grad_batches": 3},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "clipped": {"gradient_clip_val": 0.1},
    "accumulated, clipped": {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2},
}


def captured(prepared: Path, name: str, device: torch.device) -> None:
    """A dense part that is replayed as CUDA graphs ends with the parameters and rows of one that is not."""
    if device.type == "cpu":
        return
    plain = _fit(prepared, device, 2, **CAPTURED[name])
    replayed = _fit(prepared, device, 2, settings={"capture_model": True}, **CAPTURED[name])
    if "precision" in CAPTURED[name]:
        # Adam makes a whole step of a gradient that rounding alone keeps from zero.
        losses = [_loss(prepared, task, trainer, device) for task, trainer in (plain, replayed)]
        assert_close(losses[1], losses[0], rtol=0, atol=0.02)
        return
    expected, found = _state(plain[0]), _state(replayed[0])
    for key, value in expected.items():
        assert_close(found[key], value, rtol=1e-3, atol=1e-4, msg=lambda m, n=key: f"{n}: {m}")


def sharded_equals_plain(prepared: Path, kernel: str, device: torch.device) -> None:
    """One process under the strategy gives the rows of a plain Trainer, wherever it keeps them."""
    if device.type == "cpu" and kernel != "fused":
        return
    plain, _ = _fit(prepared, device)
    constraints = {"C*": TableSharding("row_wise", kernel)}
    strategy = TorchrecStrategy(constraints, replicate_rows=4)
    sharded, _ = _fit(prepared, device, strategy=strategy)
    expected = _state(plain)
    found = _state(sharded)
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def planned(prepared: Path, device: torch.device) -> None:
    """torchrec's planner finds a plan, and rows train with it."""
    task, _ = _fit(prepared, device, strategy=TorchrecStrategy(planner=True))
    assert all(value.isfinite().all() for value in _state(task).values() if value.is_floating_point())


def resumed(prepared: Path, strategy: str, device: torch.device) -> None:
    """A run of two epochs, and one that goes on from a checkpoint after the first, end with the same bits."""
    kinds: dict[str, Callable[[], Any]] = {
        "auto": lambda: "auto",
        "torchrec": lambda: TorchrecStrategy(replicate_rows=4),
    }
    # Without it a GPU adds up gradients in whatever order.
    settings = {"deterministic": "warn"}
    whole, _ = _fit(prepared, device, 2, strategy=kinds[strategy](), **settings)
    again, _ = _fit(prepared, device, 2, strategy=kinds[strategy](), **settings)
    expected, repeated = _state(whole), _state(again)
    differing = [name for name, value in expected.items() if not torch.equal(value, repeated[name])]
    assert not differing, f"two equal runs differ in {differing}: nothing can be resumed to the bit"
    _, trainer = _fit(prepared, device, 1, strategy=kinds[strategy](), **settings)
    path = str(Path(tempfile.mkdtemp()) / "half.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.save_checkpoint(path)
    later, _ = _fit(prepared, device, 2, path, strategy=kinds[strategy](), **settings)
    found = _state(later)
    assert_close(found, expected, rtol=0, atol=0)


def _next_item(model: Any, **arguments: Any) -> NextItemTask:
    return NextItemTask(lambda *sizes: model(*sizes, num_blocks=1), Items(), 8, MAX_LENGTH, **arguments)


TASKS: dict[str, Callable[[], NextItemTask]] = {
    "SASRec, all items": lambda: _next_item(SASRec, loss=FullCrossEntropy()),
    "SASRec, sampled": lambda: _next_item(
        SASRec, loss=SampledSoftmax(UniformSampler(16)), table_optimizer=RowWiseAdagrad(0.05)
    ),
    "HSTU": lambda: _next_item(HSTU, table_optimizer=DenseGradient()),
    "BERT4Rec": lambda: _next_item(BERT4Rec, objective=MaskedItems()),
}


def sessions_without_waits(name: str, device: torch.device) -> None:
    """A step of a session model asks the GPU for no number."""

    def batch() -> SessionBatch:
        made = padded(cyclic_sessions(32, length=MAX_LENGTH))
        return (made.pin_memory() if device.type == "cuda" else made).to(device)

    _steps_without_waits(TASKS[name](), batch, device)


def clicks_without_waits(prepared: Path, model: str, device: torch.device) -> None:
    """A step of a click model, its batch's way to the GPU included, asks the GPU for no number."""
    data = CTRDataModule(prepared, batch_size=128)
    (batch, *_) = data.train_dataloader()
    if device.type == "cuda":
        batch = batch.pin_memory()
    kind = {"DLRM": DLRM, "DeepFM": DeepFM}[model]
    _steps_without_waits(CTRTask(kind, data.schema, 8), lambda: batch.to(device), device)


def _steps_without_waits(task: TableTask, batch: Callable[[], Any], device: torch.device) -> None:
    task.collection = task.table_settings.build(device)
    task.to(device)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = task.configure_optimizers()
    on_gpu = device.type == "cuda"
    for step in range(4):
        if on_gpu and step >= 2:
            torch.cuda.set_sync_debug_mode("error")
        try:
            optimizer.zero_grad()
            task.training_step(batch(), step).backward()
            optimizer.step()
        finally:
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")


def all_checks(prepared: Path) -> dict[str, Check]:
    """Every check by name; `prepared` is a small folder of clicks whose categorical columns begin with C."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found: dict[str, Check] = {}
    for model in ("DLRM", "DeepFM"):
        found[f"no waits: {model}"] = partial(clicks_without_waits, prepared, model)
    for name in TASKS:
        found[f"no waits: {name}"] = partial(sessions_without_waits, name)
    for each in PRECISIONS:
        found[f"precision: {each}"] = partial(precision, prepared, each)
    for name in CAPTURED:
        found[f"captured: {name}"] = partial(captured, prepared, name)
    for strategy in ("auto", "torchrec"):
        found[f"resume to the bit: {strategy}"] = partial(resumed, prepared, strategy)
    for kernel in KERNELS:
        found[f"torchrec strategy: {kernel}"] = partial(sharded_equals_plain, prepared, kernel)
    found["torchrec strategy: planner"] = partial(planned, prepared)
    for example in EXAMPLES:
        for lookup in LOOKUPS:
            for optimizer in OPTIMIZERS:
                found[f"table: {example}, {lookup}, {optimizer}"] = partial(table_steps, example, lookup, optimizer)
    return found
