"""Turns a parser's complaint into what the user meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from recsys.configuration.class_errors import UNNAMED, no_class_or_none, odd_key, tensor_wanted, wrong_class
from recsys.configuration.classes import all_classes, classes_of, own_classes, parameters, takers
from recsys.configuration.shipped import is_yaml
from recsys.configuration.type_errors import no_fit, wrong_type

SECTIONS = ("seed_everything", "model", "data", "trainer", "ckpt_path", "remap", "precision_fallback")
"""Keys of a config."""
_GONE = {
    (
        "NextItemTask",
        "text",
    ): "a ContentTable projects items' vectors; give the table of items as SumTable with tables: "
    "[FullTable, {class_path: ContentTable, init_args: {vectors: {class_path: VectorFile, init_args: {path: "
    "DATA/vectors/NAME.npy}}}}]."
}
"""What has taken the place of arguments that are no more."""


def explain(message: str, word: str | None = None, known: Sequence[str] = ()) -> str:
    """The message with "did you mean" and the words that exist.

    Without `word`, the message is a parser's: its cause is taken out of the nesting, and the word that it rejects is
    compared with the words that would have been right there.
    """
    if word is not None:
        return _suggest(message, word, known, known)
    own = re.search(r"^\s*- (\w+: .+, got .+\.)$", message, re.MULTILINE)
    if own:
        return own.group(1)
    sections = re.match(r"the following arguments are required: ([\w., ]+)$", message)
    if sections:
        names = [name.rpartition(".")[2] for name in sections.group(1).split(", ")]
        flags = " and ".join(f"--{name}" for name in names)
        return f"{' and '.join(names)}: not given; name a config that has it with -c CONFIG, or give {flags}."
    refused = re.search(
        r"(?:[Uu]nrecognized arguments: --|does not accept option ')(optimizer|lr_scheduler)\b", message
    )
    if refused:
        return _of_optimizer(refused.group(1))
    beside = odd_key(message)
    if beside is not None:
        return beside
    unheld = tensor_wanted(message)
    if unheld is not None:
        return unheld
    option = re.search(r"[Oo]ption '(.+?)' is not accepted", message)
    if option:
        return _of_option(option.group(1), message[: option.start()], message[option.end() :])
    section = re.search(r"does not accept option '(trainer\.)?(\w+)", message)
    if section:
        known = parameters("Trainer") if section.group(1) else SECTIONS
        return _suggest(f"'{section.group(2)}' is not a key here", section.group(2), known, known)
    flag = re.search(r"[Uu]nrecognized arguments: --(trainer\.)?(\w+)", message)
    if flag:
        return _of_flag(flag.group(2), of_trainer=bool(flag.group(1)))
    alone = re.search(r"[Uu]nrecognized arguments: ([^\s-]\S*)", message)
    if alone:
        hint = f"give a config as -c {alone.group(1)}" if is_yaml(alone.group(1)) else "name the option that it is of"
        return f"'{alone.group(1)}' belongs to no option; {hint}."
    unfit = wrong_class(message)
    if unfit:
        return unfit
    name = re.search(r"path string: (\w+)|has no attribute '(\w+)'", message)
    # A number, of a place that takes numbers too or none at all, is no class that is misspelt.
    if name and not _takes_numbers(message[: name.start()]):
        rejected = name.group(1) or name.group(2)
        place = _place(message[: name.start()])
        if place == "trainer.strategy":
            return _of_strategy(rejected, message)
        if place == "constraints":
            return _of_constraint(rejected)
        return _of_class(rejected, message[: name.start()])
    return wrong_type(message) or no_class_or_none(message) or no_fit(message) or message


def _of_flag(rejected: str, of_trainer: bool) -> str:
    """A flag that there is not; one that lacks its section is completed."""
    message = f"'{rejected}' is not an argument here"
    sections = {
        "trainer": ["Trainer"],
        "model": ["CTRTask", "NextItemTask", "PISATask"],
        "data": ["CTRDataModule", "SessionDataModule"],
    }
    of_sections = [
        f"--{section}.{rejected}"
        for section, owners in ({} if of_trainer else sections).items()
        if any(rejected in parameters(owner) for owner in owners)
    ]
    if of_sections:
        begun = [f"--{name}" for name in _begun(rejected, SECTIONS)]
        return f"{message}; did you mean {' or '.join([*of_sections, *begun])}?"
    known = parameters("Trainer") if of_trainer else SECTIONS
    return _suggest(message, rejected, known, known)


def _of_optimizer(rejected: str) -> str:
    """The command line's own optimizer would leave rows untrained, and its schedule would not reach them."""
    return (
        f"--{rejected} is not an argument here: the task has model.init_args.optimizer for dense parameters and "
        "model.init_args.table_optimizer for rows, and warmup_steps and final_learning_rate_fraction for both rates."
    )


def _takes_numbers(before: str) -> bool:
    """Whether the innermost place of a parser's complaint takes numbers beside classes."""
    expected = re.findall(r"Subtypes: \[(.*)\]", before[before.rfind("Parser key") :])
    return bool(expected) and re.search(r"<class '(?:int|float)'>", expected[-1]) is not None


def _place(before: str) -> str:
    """The innermost key that a parser's complaint names."""
    return ["", *re.findall(r'Parser key "([\w.]+)"', before)][-1]


def _of_option(option: str, before: str, after: str) -> str:
    """An argument that its class does not take, from what the parser says before and after it."""
    # A factory's class is named after the argument; else the class named last is the innermost.
    factory = re.match(r"\. Got value: Namespace\(class_path='([\w.]+)'", after)
    named = factory.group(1) if factory else ["", *re.findall(r"class_path '([\w.]+)'", before)][-1]
    owner, accepted, path, place = named.rpartition(".")[2], parameters(named), option.split("."), _place(before)
    # What is right below a misspelt word is rejected with it.
    rejected = path[0] if accepted and path[0] not in (*accepted, "init_args") else path[-1]
    if (owner, rejected) in _GONE:
        return f"'{rejected}' is no longer an argument of {owner}: {_GONE[owner, rejected]}"
    if owner in UNNAMED:
        return f"'{rejected}' comes before the class of {place} is known; put -c CONFIG or --{place} CLASS before it."
    if rejected in accepted:
        return f"'{rejected}' of {owner} is set by what makes the {owner}; leave it out."
    others = takers(rejected, owner)
    if others and not _begun(rejected, accepted) and not _abbreviated(rejected, accepted):
        listed = f"\n  known: {', '.join(accepted)}" if accepted else ""
        return f"'{rejected}' belongs to {_few(others)}; {place} is {owner}{listed}"
    ours = [name for kind in own_classes() for name in parameters(kind)]
    everywhere = [name for kind in all_classes() for name in parameters(kind)]
    nearest = next((words for words in (accepted, ours) if _nearest(rejected, words, 0.6)), accepted or everywhere)
    return _suggest(f"'{rejected}' is not an argument here", rejected, nearest, accepted)


def _of_class(rejected: str, before: str) -> str:
    """An unknown class, compared with those that would fit in its place."""
    expected = re.findall(r"Subtypes: \[(.*)\]", before[before.rfind("Parser key") :])
    fitting = classes_of(set(re.findall(r"[\w.]+", expected[-1]))) if expected else []
    if rejected in (fitting or own_classes()):
        return f"'{rejected}' is given by its whole name here: {own_classes()[rejected].__module__}.{rejected}."
    return _suggest(f"there is no class '{rejected}'", rejected, fitting or sorted(all_classes()), fitting)


def _few(names: Sequence[str]) -> str:
    """At most five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _suggest(message: str, word: str, candidates: Sequence[str], known: Sequence[str]) -> str:
    # A word that other commands have is spelt right, and no word of this one.
    close = [] if word in candidates else _nearest(word, candidates, 0.5)
    known = [name for name in known if name != word]
    hint = f"; did you mean '{close[0]}'?" if close else "."
    listed = f"\n  known: {', '.join(known)}" if known and not (close and close[0] not in known) else ""
    return f"{message}{hint}{listed}"


def _begun(word: str, candidates: Sequence[str]) -> list[str]:
    """What a word may be the beginning of; a letter or two may be that of anything."""
    return [name for name in candidates if len(word) > 2 and name.startswith(word) and name != word]


def _abbreviated(word: str, candidates: Sequence[str]) -> list[str]:
    """Names of which a word has the first letters, or that have those of the word: lr and learning_rate."""
    return [name for name in candidates if word == _initials(name) or name == _initials(word)]


def _initials(name: str) -> str:
    return "".join(part[0] for part in name.split("_") if part) if "_" in name else ""


def _nearest(word: str, candidates: Sequence[str], cutoff: float) -> list[str]:
    """The one name that was meant, if it is near: the only one that begins so or is shorter, else the most similar."""
    begun = _begun(word, candidates) or _abbreviated(word, candidates)
    return (
        begun
        if len(begun) == 1
        else get_close_matches(word, begun or candidates, n=1, cutoff=cutoff if not begun else 0)
    )


def _of_strategy(rejected: str, message: str) -> str:
    """An unknown class of strategy, or arguments given to the short name, which takes none."""
    from recsys.sharding.strategy import NAME

    if rejected != NAME:
        return _suggest(f"there is no strategy class '{rejected}'", rejected, ["TorchrecStrategy"], ())
    known, said = parameters("TorchrecStrategy"), f"'{NAME}' is a short name, which takes no arguments; "
    given = re.search(r"NestedArg\(key='(\w+)'", message)
    if given is None or given.group(1) in ("class_path", "init_args"):
        return f"{said}its class is class_path: TorchrecStrategy\n  its arguments: {', '.join(known)}"
    close = get_close_matches(given.group(1), known, n=1)
    if not close:
        return _suggest(f"'{given.group(1)}' is not an argument of TorchrecStrategy", given.group(1), (), known)
    return f"{said}did you mean --trainer.strategy TorchrecStrategy --trainer.strategy.{close[0]} VALUE?"


def _of_constraint(rejected: str) -> str:
    """A word where a TableSharding should be."""
    from recsys.tables.sharded.placements import SHARDING_TYPES
    from recsys.tables.sharded.plan import COMPUTE_KERNELS

    close = get_close_matches(rejected, (*SHARDING_TYPES, *COMPUTE_KERNELS), n=1)
    word = close[0] if close else SHARDING_TYPES[0]
    key = "compute_kernel" if word in COMPUTE_KERNELS else "sharding_type"
    return (
        f"constraints: a matrix needs a sharding_type, a compute_kernel or both, got '{rejected}'; "
        f"did you mean {{{key}: {word}}}?"
    )
