"""Tables in place of the embeddings of any torch model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer, SparseAdam

from recsys.argument_types import typed
from recsys.tables.base import Table
from recsys.tables.declared_ties import declared_ties, forget_ties
from recsys.tables.embedding import Embedding
from recsys.tables.embedding_bag import EmbeddingBag
from recsys.tables.factories import table_of
from recsys.tables.holders import check_others, lists_in, rewire_optimizer
from recsys.tables.storages import unique_physical_tables
from recsys.tables.swap_rules import Swapped, SwapReport, SwapRule
from recsys.tables.tied_head import TiedHead

Old = nn.Embedding | nn.EmbeddingBag


@dataclass
class _Plan:
    """One module to be replaced.

    Args:
        module: the module.
        paths: where it stands.
        rule: that has chosen it.
        table: what it becomes.
    """

    module: Old
    paths: list[str]
    rule: SwapRule
    table: Table

    @property
    def path(self) -> str:
        return self.paths[0]


@typed
def swap_(
    model: nn.Module, rules: Sequence[SwapRule], *, optimizers: Sequence[Optimizer] = (), dry_run: bool = False
) -> SwapReport:
    """Replace embeddings of a model by tables, in place; the first rule that matches a module decides.

    A module that stands in several places is replaced once. What else holds an old parameter goes on with the new ones:
    output layers tied to it become TiedHeads; the given optimizers, in the same group and without the old state; lists
    among the modules' attributes, as those of regularisers. Anything else that is found to hold one is refused by name,
    before anything is changed.

    Args:
        model: any module that has embeddings in it.
        rules: which become which table.
        optimizers: those made before.
        dry_run: say what would be done, and do nothing; fit errors are not known then.

    A FullTable goes on with the parameter that was there, so that nothing has to be rewired.

    Returns: what was replaced, bytes before and after, fit errors, and what was rewired.

    Raises:
        ValueError: if nothing matches, an embedding has max_norm, scale_grad_by_freq or hooks, rows that several tables
            share were to be fitted, or something that cannot be rewired holds an old parameter.
    """
    plans = _plans(model, rules)
    # A table that keeps all vectors goes on with the old parameter, and whoever holds it may go on.
    moved = [plan for plan in plans if not plan.table.keeps_vectors]
    old = {id(plan.module.weight): plan.path for plan in moved}
    heads = _heads(model, moved)
    lists = lists_in(model, old)
    check_others(model, {plan.path: plan.module for plan in moved}, optimizers, lists)
    for optimizer in optimizers:
        _check_optimizer(model, optimizer, moved)
    rewired = [f"{path}, tied to {plan.path}, is a TiedHead" for path, _, plan in heads]
    rewired += [f"the list {each.path}" for each in lists]
    held = [sum(id(p) in old for group in each.param_groups for p in group["params"]) for each in optimizers]
    rewired += [
        f"{number} parameters of the optimizer {type(each).__name__}"
        for each, number in zip(optimizers, held, strict=True)
        if number
    ]
    if dry_run:
        return SwapReport(_reported(plans, [None] * len(plans)), rewired, dry_run=True)
    made, errors = _make(plans)
    new = {
        id(plan.module.weight): list(each.parameters()) for plan, each in zip(plans, made, strict=True) if plan in moved
    }
    for plan, each in zip(plans, made, strict=True):
        for path in plan.paths:
            model.set_submodule(path, each)
    by_module = {id(plan.module): each for plan, each in zip(plans, made, strict=True)}
    for path, head, plan in heads:
        tied = TiedHead(by_module[id(plan.module)], bias=head.bias).train(head.training)
        model.set_submodule(path, tied)
    forget_ties(model, {f"{path}.weight" for path in (*old.values(), *(path for path, _, _ in heads))})
    for holder in lists:
        holder.rewire(new)
    for optimizer in optimizers:
        rewire_optimizer(optimizer, new)
    return SwapReport(_reported(plans, errors), rewired)


def _plans(model: nn.Module, rules: Sequence[SwapRule]) -> list[_Plan]:
    """What is to be replaced, each module once."""
    plans: dict[int, _Plan] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if id(module) in plans:
            plans[id(module)].paths.append(path)
            continue
        rule = next((rule for rule in rules if rule.matches(path, module)), None)
        if rule is None:
            continue
        assert isinstance(module, Old)
        _check_module(path, module)
        table = _table(rule.table, path, module, module.weight)
        plans[id(module)] = _Plan(module, [path], rule, table)
    found = list(plans.values())
    if not found:
        kinds = sorted({path for path, each in model.named_modules() if isinstance(each, Old)})
        raise ValueError(f"swap_: no rule matches an embedding of the model, which has {kinds or 'none'}.")
    _give_shared_rows_one_deviation(found)
    tables = [plan.table for plan in found]
    for plan in found:
        plan.table = plan.table.sized_among(tables)
    unique_physical_tables([plan.table for plan in found])
    _check_shared(found)
    return found


def _give_shared_rows_one_deviation(plans: Sequence[_Plan]) -> None:
    """Tables that share rows start with the root mean square of their modules' deviations."""
    for sharing in _readers(plans).values():
        given = [plan.table.arguments.get("init_std") for plan in sharing]
        stds = [std for std in given if isinstance(std, float)]
        if len(sharing) == 1 or len(stds) < len(given):
            continue
        common = math.sqrt(sum(std * std for std in stds) / len(stds))
        for plan in sharing:
            arguments: dict[str, Any] = {**plan.table.arguments, "init_std": common}
            plan.table = type(plan.table)(**arguments)


def _readers(plans: Sequence[_Plan]) -> dict[str, list[_Plan]]:
    """Who reads each matrix."""
    readers: dict[str, list[_Plan]] = {}
    for plan in plans:
        for name in unique_physical_tables([plan.table]):
            readers.setdefault(name, []).append(plan)
    return readers


def _check_module(path: str, module: Old) -> None:
    if not path:
        raise ValueError("swap_: the model is itself an embedding, and cannot be replaced in place; use Embedding.")
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module.weight._backward_hooks)
    for name, has in {
        "max_norm": module.max_norm is not None,
        "scale_grad_by_freq": module.scale_grad_by_freq,
        "hooks": any(hooks),
    }.items():
        if has:
            raise ValueError(f"swap_: '{path}' has {name}, which a table has not; leave it out by its pattern.")


def _table(factory: Callable[..., Table], path: str, module: Old, weight: Tensor) -> Table:
    """The table of a module, whose vectors start with the deviation of the module's."""
    owner, name = f"swap_: the rule of '{path}'", path.replace(".", "/")
    sizes = module.num_embeddings, module.embedding_dim
    return table_of(owner, factory, name, *sizes, _deviation(factory, weight))


def _deviation(factory: Callable[..., Table], weight: Tensor) -> float | None:
    """The deviation of the vectors that are there, for a factory that takes one and has none."""
    try:
        takes_one = "init_std" in inspect.signature(factory).parameters
    except ValueError:  # what cannot be called is said where it would be
        return None
    if not takes_one or "init_std" in getattr(factory, "keywords", {}) or weight.numel() < 2 or weight.is_meta:
        return None
    std = float(weight.detach().float().std())
    return std if std > 0 else None


def _check_shared(plans: Sequence[_Plan]) -> None:
    """Refuse to fit rows that several tables read: the last would overwrite what the first has found."""
    for name, sharing in _readers(plans).items():
        if len(sharing) > 1 and any(plan.rule.fit for plan in sharing):
            paths = [plan.path for plan in sharing]
            raise ValueError(
                f"swap_: the tables of {paths} share the rows of '{name}' and cannot be fitted one by one; give their "
                "rule fit=False, or two storages."
            )
    weights: dict[int, _Plan] = {}
    for plan in plans:
        first = weights.setdefault(id(plan.module.weight), plan)
        if first is not plan:
            raise ValueError(
                f"swap_: '{first.path}' and '{plan.path}' are two modules with one weight; make them one module first."
            )


def _heads(model: nn.Module, plans: Sequence[_Plan]) -> list[tuple[str, nn.Linear, _Plan]]:
    """Output layers that share a weight that is replaced, or are declared to."""
    of_weight = {id(plan.module.weight): plan for plan in plans}
    by_name = {f"{path}.weight": plan for plan in plans for path in plan.paths}
    ties = declared_ties(model)
    declared = {one: by_name[other] for one, other in ties.items() if other in by_name}
    declared |= {other: by_name[one] for one, other in ties.items() if one in by_name}
    replaced = {id(plan.module) for plan in plans}
    heads = []
    for path, module in model.named_modules():
        if id(module) in replaced:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            plan = of_weight.get(id(parameter)) or declared.get(f"{path}.{name}")
            if plan is None:
                continue
            if type(module) is not nn.Linear:
                raise ValueError(
                    f"swap_: '{path}', a {type(module).__name__}, shares its {name} with '{plan.path}'; only an "
                    "nn.Linear can be scored with a table's vectors. Untie it, or leave both out."
                )
            heads.append((path, module, plan))
    return heads


def _check_optimizer(model: nn.Module, optimizer: Optimizer, plans: Sequence[_Plan]) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        raise ValueError(
            f"swap_: optimizers: {type(optimizer).__name__} holds no parameter of the model; give its "
            "optimizer, or make it after the swap."
        )
    for plan in plans:
        if (
            isinstance(optimizer, SparseAdam)
            and id(plan.module.weight) in held
            and any(True for _ in plan.table.parameters())
        ):
            raise ValueError(
                f"swap_: SparseAdam holds '{plan.path}', and {type(plan.table).__name__} has parameters with dense "
                "gradients; use another optimizer or table."
            )


def _make(plans: Sequence[_Plan]) -> tuple[list[Embedding], list[float | None]]:
    """The new modules and their fit errors, all made before any is put in place."""
    made, errors = [], list[float | None]()
    for plan in plans:
        module = plan.module
        weight = module.weight
        options: dict[str, Any] = {
            "padding_idx": module.padding_idx,
            "sparse": module.sparse,
            "device": weight.device,
            "dtype": weight.dtype,
        }
        if isinstance(module, nn.EmbeddingBag):
            bag: dict[str, Any] = {"mode": module.mode, "include_last_offset": module.include_last_offset}
            embedding: Embedding = EmbeddingBag(plan.table, **bag, **options)
        else:
            embedding = Embedding(plan.table, **options)
        if plan.table.keeps_vectors:
            embedding.weight = weight
            errors.append(0.0)
            made.append(embedding.train(module.training))
            continue
        errors.append(embedding.fit_(weight) if plan.rule.fit and not weight.is_meta else None)
        made.append(embedding.train(module.training))
    for plan, embedding in zip(plans, made, strict=True):
        if not plan.module.weight.requires_grad:
            embedding.requires_grad_(False)
    return made, errors


def _reported(plans: Sequence[_Plan], errors: Sequence[float | None]) -> list[Swapped]:
    owners: dict[str, str] = {}
    reported = []
    for plan, error in zip(plans, errors, strict=True):
        weight = plan.module.weight
        read = unique_physical_tables([plan.table])
        matrices = {name: each for name, each in read.items() if name not in owners}
        shares = ", ".join(dict.fromkeys(owners[name] for name in read if name in owners))
        owners.update(dict.fromkeys(matrices, plan.paths[0]))
        after = sum(matrix.num_bytes(weight.dtype) for matrix in matrices.values()) + plan.table.own_bytes()
        described = f"{type(plan.table).__name__} {plan.table.num_embeddings}x{plan.table.embedding_dim}"
        before = weight.numel() * weight.element_size()
        reported.append(Swapped(tuple(plan.paths), described, before, after, error, shares))
    return reported
