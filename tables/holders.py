"""Who else holds a model's parameters: optimizers, lists, other modules."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

_DEPTH = 6
_OWN = ("_parameters", "_modules", "_buffers")


@dataclass(frozen=True)
class ListHolder:
    """A list of a model in which old parameters stand, themselves or in tuples.

    Args:
        path: of the list.
        held: the list.
    """

    path: str
    held: list[Any]

    def rewire(self, new: Mapping[int, Sequence[nn.Parameter]]) -> None:
        """Put the new parameters, all of them, where an old one stands; of a tuple, one for each."""
        rewired = []
        for entry in self.held:
            old = _old_in(entry, new)
            if old is None:
                rewired.append(entry)
            else:
                rewired += [_replaced(entry, old, each) for each in new[old]]
        self.held[:] = rewired


def _old_in(entry: Any, old: Mapping[int, object]) -> int | None:
    """Which old parameter an entry is, or has in it."""
    parts = entry if isinstance(entry, tuple) else (entry,)
    return next((id(part) for part in parts if id(part) in old), None)


def _replaced(entry: Any, old: int, new: nn.Parameter) -> Any:
    if isinstance(entry, tuple):
        return tuple(new if id(part) == old else part for part in entry)
    return new


def lists_in(model: nn.Module, old: Mapping[int, str]) -> list[ListHolder]:
    """Lists among the attributes of a model's modules that hold old parameters.

    Args:
        model: to be searched.
        old: paths of parameters, by id.

    Raises:
        ValueError: if anything else among them does, naming it.
    """
    found: list[ListHolder] = []
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _OWN:
                found += _search(f"{path}.{name}".lstrip("."), value, old, _DEPTH)
    return list({id(each.held): each for each in found}.values())


def _search(path: str, value: Any, old: Mapping[int, str], depth: int) -> Iterator[ListHolder]:
    if isinstance(value, nn.Module) or depth == 0:
        return
    if id(value) in old:
        _refuse(path, value, old)
    if isinstance(value, list):
        if any(_old_in(entry, old) is not None for entry in value):
            yield ListHolder(path, value)
        parts = [(i, entry) for i, entry in enumerate(value) if _old_in(entry, old) is None]
    elif isinstance(value, tuple | set | frozenset):
        parts = list(enumerate(value))
    elif isinstance(value, dict):
        parts = list(value.items())
    elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in ("torch", "builtins"):
        parts = list(vars(value).items())
    else:
        return
    for key, part in parts:
        yield from _search(f"{path}[{key!r}]", part, old, depth - 1)


def _refuse(path: str, value: object, old: Mapping[int, str]) -> None:
    raise ValueError(
        f"swap_: '{path}' holds the parameter of '{old[id(value)]}' and would go on with the old one; remove it, or "
        "keep it in a list, before swapping."
    )


def check_others(
    model: nn.Module, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], lists: Sequence[ListHolder]
) -> None:
    """Refuse what holds a replaced parameter and can be neither rewired nor seen to be harmless.

    Args:
        model: in which modules are replaced.
        modules: those that are replaced, by path, each with a weight.
        optimizers: that were given.
        lists: that are rewired.

    Raises:
        ValueError: naming the holder and what it holds.
    """
    gc.collect()
    paths = {id(module): path for path, module in modules.items()}
    paths |= {id(module.weight): path for path, module in modules.items()}
    _check_modules(model, modules, paths)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    known = {id(group["params"]) for group in groups} | {id(optimizer.state) for optimizer in optimizers}
    known |= {id(each.held) for each in lists} | {id(entry) for each in lists for entry in each.held}
    known |= {id(module._parameters) for module in model.modules()}
    weights = [module.weight for module in modules.values()]
    known.add(id(weights))
    for holder in gc.get_referrers(*weights):
        if type(holder) in (list, tuple, set, dict) and id(holder) not in known:
            parts = holder.values() if isinstance(holder, dict) else holder
            held = next((paths[id(part)] for part in parts if id(part) in paths), None)
            if held is not None:
                _refuse_container(holder, held)
        elif isinstance(attributes := getattr(holder, "__dict__", None), dict) and not isinstance(holder, nn.Module):
            held = next((paths[id(part)] for part in attributes.values() if id(part) in paths), None)
            if held is not None:
                raise ValueError(
                    f"swap_: a {type(holder).__name__} that is no part of the model holds the parameter of '{held}' "
                    "and would keep the old one; delete it before swapping and make it anew."
                )


def _check_modules(model: nn.Module, modules: Mapping[str, nn.Module], paths: Mapping[int, str]) -> None:
    """Refuse modules outside of the model that share what is replaced."""
    inside = {id(module) for module in model.modules()}
    for holder in gc.get_objects():
        if not issubclass(type(holder), nn.Module) or "_modules" not in vars(holder) or id(holder) in inside:
            continue
        if isinstance(holder, DistributedDataParallel) and any(id(module) in paths for module in holder.modules()):
            raise ValueError("swap_: the model is wrapped in DistributedDataParallel; swap before wrapping it.")
        parts = (*holder._modules.values(), *holder._parameters.values())
        held = next((paths[id(part)] for part in parts if id(part) in paths), None)
        if held is not None:
            raise ValueError(
                f"swap_: a {type(holder).__name__} outside of the model shares '{held}' and would keep the old one; "
                "swap in a model that has both, or leave it out."
            )


def _refuse_container(holder: Any, held: str) -> None:
    """Say who holds it: an optimizer that was not given, or just a container."""
    for owner in (each for each in gc.get_objects() if issubclass(type(each), Optimizer)):
        groups = getattr(owner, "param_groups", [])
        if holder is getattr(owner, "state", None) or any(holder is group["params"] for group in groups):
            raise ValueError(
                f"swap_: an optimizer, {type(owner).__name__}, holds the parameter of '{held}' and would go on "
                "stepping the old one; give it in optimizers, or delete it and make it after swapping."
            )
    raise ValueError(
        f"swap_: a {type(holder).__name__} of {len(holder)} that is no attribute of the model's modules holds the "
        f"parameter of '{held}' and would keep the old one; delete it before swapping and make it anew."
    )


def rewire_optimizer(optimizer: Optimizer, new: Mapping[int, Sequence[nn.Parameter]]) -> int:
    """Give an optimizer the new parameters in place of the old ones, each once and without state; how many old ones."""
    number = 0
    present = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for group in optimizer.param_groups:
        params = []
        for parameter in group["params"]:
            if id(parameter) not in new:
                params.append(parameter)
                continue
            number += 1
            optimizer.state.pop(parameter, None)
            fresh = [each for each in new[id(parameter)] if id(each) not in present]
            present.update(map(id, fresh))
            params += fresh
        group["params"][:] = params
    return number
