"""What a trained task has to give to be written as a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Interface:
    """The arguments of a program.

    Args:
        example: arguments by name, to make the program with.
        shapes: which of their sizes may differ from call to call, as `torch.export` wants it.
        inputs: names of all tensors among the arguments, in order, for formats that know tensors alone.
        outputs: names of what is returned.
    """

    example: Mapping[str, Any]
    shapes: Mapping[str, Any]
    inputs: Sequence[str]
    outputs: Sequence[str]


class Exportable(ABC):
    """A trained task and the program of what it computes in evaluation mode, in float32 on the CPU.

    Attributes:
        program: without gradients.
        interface: of the program.
        vocabularies: names of the data's columns whose ids it reads.
    """

    program: nn.Module
    interface: Interface
    vocabularies: Sequence[str]

    @abstractmethod
    def arguments(self, batch: Any) -> dict[str, Any]:
        """A batch of the task's data as arguments of the program."""

    @abstractmethod
    def expected(self, batch: Any) -> tuple[Tensor, ...]:
        """What the task itself gives of the batch, for each output of the program."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The inputs in words and numbers, for whoever calls the program."""
