"""How the data at hand differ from those a checkpoint was trained on, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recsys.checkpoints.reading import KEY

DATA = "data"
"""The entry of a checkpoint's description that says what it was trained on."""

_SHOWN = 5
_WORDS = {
    "ids": "the ids of {} stand for other values",
    "values": "there are other values of {}",
    "vectors": "the items have other vectors {}",
}


class OtherDataError(ValueError):
    """A checkpoint was trained on other data.

    Args:
        found: how they differ, and where both are.
        remedy: what helps, but for the data that it knows.
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}: use the former, or {remedy}.")
        self.found = found


@contextmanager
def without_remap(remedy: str) -> Iterator[None]:
    """For what takes no --remap: say what helps there.

    Raises:
        OtherDataError: instead of the one that names the option.
    """
    try:
        yield
    except OtherDataError as error:
        raise OtherDataError(error.found, remedy) from None


def check_data(checkpoint: Mapping[str, Any], here: Mapping[str, Any] | None) -> None:
    """Refuse a checkpoint of other data: its rows and weights would be read for other values.

    Args:
        checkpoint: with the description of its tables; one that says nothing of its data is let pass.
        here: the identity of the data at hand, as `Schema.identity` gives it; None where nobody knows.

    Raises:
        OtherDataError: naming the features that differ, and how.
    """
    before = checkpoint.get(KEY, {}).get(DATA)
    if before is None or here is None:
        return
    found = list(data_differences(before, here))
    if found:
        raise OtherDataError(
            f"the checkpoint was trained on other data: {', '.join(found)}; it knows '{before['path']}' and this is "
            f"'{here['path']}'",
            f"--remap {before['path']} to carry rows over by the values of ids",
        )


def data_differences(before: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Half a sentence for each kind of difference; what one side does not know or have is not compared."""
    for kind, words in _WORDS.items():
        theirs, ours = before[kind], here[kind]
        both = [name for name in theirs if name in ours]
        if changed := [name for name in both if None not in (theirs[name], ours[name]) and theirs[name] != ours[name]]:
            yield words.format(_named(changed))
    if list(before["dense"]) != list(here["dense"]):
        yield dense_difference(before, here)


def dense_difference(before: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Half a sentence on dense columns that are not the same, or not in the same order."""
    lists = [_named(side["dense"]) or "none" for side in (before, here)]
    return f"the dense columns are {lists[0]} in the checkpoint and {lists[1]} here"


def changed_ids(before: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Features whose ids stand for other values, or may do so because nobody knows."""
    theirs, ours = before["ids"], here["ids"]
    return [name for name in theirs if name in ours and (theirs[name] is None or theirs[name] != ours[name])]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
