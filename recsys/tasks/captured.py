"""The dense part of a step, forward and backward, replayed as one CUDA graph: a GPU then waits for no launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Results = tuple[Tensor, list[Tensor]]
"""A scalar, and its gradients."""

_WARM_UPS = 3
"""Runs before a capture: what libraries set up at first use cannot be captured."""


class CapturedLoss:
    """A scalar of a module and of tensors, captured with its gradients at the first batch, and replayed from then on.

    Gradients are those of the scalar itself, and multiplied by what the backward pass brings. Batches of another shape,
    as the last one of an epoch may be, and of a single sample are computed without the graph; so is everything while
    the module is evaluated. Where parameters are frozen, moved or replaced, a part is evaluated, or
    the precision is another one, it is captured anew.

    Args:
        module: whose parameters the scalar depends on.
        function: of some tensors, calling the module.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Tensor]) -> None:
        self._module = module
        self._function = function
        self._key: tuple[Any, ...] | None = None
        self._capture: Capture | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy captures by itself."""
        return {**self.__dict__, "_key": None, "_capture": None}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The scalar, of tensors on a GPU.

        Raises:
            ValueError: if they are not on a GPU, or the module does what no graph can hold.
        """
        if not (self._module.training and torch.is_grad_enabled()) or len(tensors[0]) < 2:
            return self._function(*tensors)
        kind, parameters = tensors[0].device.type, list(self._module.parameters())
        key = (
            [(id(each), each.data_ptr(), each.requires_grad) for each in parameters],
            [each.training for each in self._module.modules()],
            torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind),
        )
        if self._capture is None or key != self._key:
            own = [each for each in parameters if each.requires_grad]
            self._capture, self._key = Capture(self._module, self._function, tensors, own), key
        if not self._capture.fits(tensors):
            return self._function(*tensors)
        scalar: Tensor = _Replay.apply(self._capture, *tensors, *self._capture.parameters)
        return scalar


class Capture:
    """A graph of one shape of batch, and the memory that it reads and writes.

    Args:
        module: that is called; its buffers and random numbers are left as if nothing had run.
        function: of the tensors.
        tensors: of a first batch.
        parameters: that take gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self.parameters = list(parameters)
        self.number = 0
        """Of the batch that was replayed last."""
        self._inputs = [each.detach().clone().requires_grad_(each.requires_grad) for each in tensors]
        self._function = function
        self.takes_gradient = [each.requires_grad for each in self._inputs]
        device = tensors[0].device
        buffers = [(each, each.clone()) for each in module.buffers()]
        try:
            self._graph = CudaGraph(self._work, device)
        except RuntimeError as error:
            raise ValueError(
                f"{type(module).__name__} cannot be captured in a CUDA graph; set capture_model to False. "
                f"({str(error).splitlines()[0]})"
            ) from error
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)

    def _work(self) -> Results:
        kind = self._inputs[0].device.type
        # Cached casts of weights would be those of one step, replayed in all.
        with torch.autocast(
            kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind), cache_enabled=False
        ):
            scalar = self._function(*self._inputs)
        wanted = [*(each for each in self._inputs if each.requires_grad), *self.parameters]
        return scalar.detach(), list(torch.autograd.grad(scalar, wanted, materialize_grads=True))

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether a batch has the shapes of the first one."""
        pairs = zip(tensors, self._inputs, strict=False)
        return len(tensors) == len(self._inputs) and all(
            each.shape == own.shape and each.dtype == own.dtype and each.requires_grad == own.requires_grad
            for each, own in pairs
        )

    @torch.no_grad()
    def replay(self, tensors: Sequence[Tensor]) -> Tensor:
        """The scalar of a batch; its gradients are then at hand."""
        for own, each in zip(self._inputs, tensors, strict=True):
            own.copy_(each)
        self._graph.replay()
        self.number += 1
        return self._graph.results[0].clone()

    def gradients(self, number: int, factor: Tensor) -> list[Tensor | None]:
        """Those of the tensors and of the parameters, in memory of their own.

        Raises:
            RuntimeError: if another batch was replayed since that of this number.
        """
        if number != self.number:
            raise RuntimeError(
                "capture_model: the gradients of this batch are gone, as another batch was computed before its "
                "backward pass; call backward after every batch, or set capture_model to False."
            )
        scaled = iter(torch._foreach_mul(self._graph.results[1], factor))
        found: list[Tensor | None] = [next(scaled) if takes else None for takes in self.takes_gradient]
        return [*found, *scaled]


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, capture: Capture, *tensors: Tensor) -> Tensor:
        scalar = capture.replay(tensors[: len(capture.takes_gradient)])
        ctx.capture, ctx.number = capture, capture.number
        return scalar

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.capture.gradients(ctx.number, grads[0]))


class CudaGraph:
    """What some work launches on a GPU, to be launched again at once.

    Args:
        work: that always reads and writes the same memory, and whose results are written anew by every replay.
        device: of its tensors.
    """

    def __init__(self, work: Callable[[], Results], device: torch.device) -> None:
        if device.type != "cuda":
            raise ValueError(f"capture_model=True needs a GPU, got tensors on {device}; leave it at False there.")
        random_state = torch.cuda.get_rng_state(device)
        torch.cuda.synchronize(device)
        with torch.cuda.stream(torch.cuda.Stream(device)):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.synchronize(device)
        self._graph = torch.cuda.CUDAGraph()
        # Threads that load data take page-locked memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self.results = work()
        torch.cuda.set_rng_state(random_state, device)

    def replay(self) -> None:
        """Launch it all."""
        self._graph.replay()
