"""Time of one forward and backward pass of every model, eager and compiled, beside its matrix products alone.

Run: ``python benchmarks/models.py --threads 2``. The variants take turns, so that a busy machine slows all of them;
the table gives medians in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable

import machine
import torch
from torch import Tensor, nn

from recsys.models import DLRM, DCNv2, DeepFM, FinalMLP, LogisticRegression, StackedDCNv2
from recsys.models.linear import COLUMN_ALIGNMENT, PaddedLinear

NUM_FEATURES, EMBEDDING_DIM, NUM_DENSE = 26, 16, 13
SIZES = (NUM_FEATURES, EMBEDDING_DIM, NUM_DENSE)
HIDDEN_DIMS = (400, 400)


def models() -> dict[str, nn.Module]:
    return {
        "LogisticRegression": LogisticRegression(*SIZES),
        "DLRM": DLRM(*SIZES, bottom_dims=(256, 64), top_dims=HIDDEN_DIMS),
        "DeepFM": DeepFM(*SIZES, hidden_dims=HIDDEN_DIMS),
        "DCNv2": DCNv2(*SIZES, hidden_dims=HIDDEN_DIMS),
        "DCNv2 low_rank=64": DCNv2(*SIZES, hidden_dims=HIDDEN_DIMS, low_rank=64),
        "StackedDCNv2": StackedDCNv2(*SIZES, hidden_dims=HIDDEN_DIMS),
        "FinalMLP": FinalMLP(*SIZES, stream1_dims=HIDDEN_DIMS, stream2_dims=(400,), num_heads=50),
        "FinalMLP gates": FinalMLP(
            *SIZES, stream1_dims=HIDDEN_DIMS, stream2_dims=(400,), gate_dims=(400,), gate1_context=range(26, 39)
        ),
    }


def training_pass(model: nn.Module, embeddings: Tensor, dense: Tensor, labels: Tensor) -> Callable[[], None]:
    inputs = [embeddings, *model.parameters()]

    def run() -> None:
        loss = nn.functional.binary_cross_entropy_with_logits(model(embeddings, dense), labels)
        torch.autograd.grad(loss, inputs)

    return run


def matrix_products(model: nn.Module, batch_size: int) -> Callable[[], None]:
    """Forward product, input gradient and weight gradient of every linear layer at its padded width, nothing else."""
    operands = []
    for layer in model.modules():
        if isinstance(layer, PaddedLinear):
            input_dim = layer.in_features + -layer.in_features % COLUMN_ALIGNMENT
            output_dim = layer.out_features + layer.output_padding
            tensors = torch.randn(batch_size, input_dim), torch.randn(output_dim, input_dim)
            operands.append((*tensors, torch.randn(batch_size, output_dim), layer.in_features != NUM_DENSE))

    def run() -> None:
        for inputs, weight, grad, needs_input_grad in operands:
            inputs @ weight.t()
            grad.t() @ inputs
            if needs_input_grad:
                grad @ weight

    return run


def interleaved_medians(variants: dict[str, Callable[[], None]], num_rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(num_rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values[2:]) for name, values in times.items()}


def report(names: Iterable[str], medians: dict[str, float], batch_size: int) -> None:
    print(f"{'model':<20}{'products':>10}{'eager':>10}{'compiled':>10}{'eager/compiled':>16}{'eager rows/s':>14}")
    for name in names:
        products, eager = medians[f"{name} products"], medians[f"{name} eager"]
        compiled = medians.get(f"{name} compiled", float("nan"))
        ratio, rate = eager / compiled, 1e3 * batch_size / eager
        print(f"{name:<20}{products:>10.2f}{eager:>10.2f}{compiled:>10.2f}{ratio:>16.2f}{rate:>14,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", nargs="*", default=list(models()), help="names of models, as in the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine.line())
    embeddings = torch.randn(args.batch_size, NUM_FEATURES, EMBEDDING_DIM, requires_grad=True)
    dense, labels = torch.randn(args.batch_size, NUM_DENSE), torch.rand(args.batch_size).round()
    variants = {}
    for name, model in models().items():
        if name in args.only:
            variants[f"{name} products"] = matrix_products(model, args.batch_size)
            variants[f"{name} eager"] = training_pass(model, embeddings, dense, labels)
            if args.compile:
                compiled = torch.compile(model, fullgraph=True)
                variants[f"{name} compiled"] = training_pass(compiled, embeddings, dense, labels)
    report(args.only, interleaved_medians(variants, args.rounds), args.batch_size)


if __name__ == "__main__":
    main()
