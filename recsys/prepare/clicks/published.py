"""A publisher's rows once more, as an earlier preparation took them: the recipe in its schema.json says how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recsys.prepare.clicks import avazu_rows, criteo_rows
from recsys.prepare.clicks.avazu_rows import AvazuRows
from recsys.prepare.clicks.criteo_rows import CriteoRows
from recsys.prepare.clicks.movielens_rows import MovieLensRows
from recsys.prepare.clicks.raw_dataset import RawDataset
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_paths import named_files

Recipe = Mapping[str, object]


def published_rows(recipe: Recipe, paths: Sequence[Path], keys: Sequence[str], name: str) -> RawDataset:
    """Open new files of the layout of an earlier preparation; labels may lack where the publisher has such files.

    Args:
        recipe: Of the earlier preparation.
        paths: Of the new files.
        keys: Columns to keep for predictions.
        name: Of the data set.

    Raises:
        ValueError: The recipe names no program or not its options, a file is missing or of another layout, or a key
            is no column to keep.
    """
    program = str(recipe.get("program"))
    if program not in _OPEN:
        raise ValueError(f"the recipe in schema.json names program '{program}', not one of {', '.join(_OPEN)}.")
    kept = (avazu_rows.KEY,) if program == "avazu" else ()
    for key in keys:
        if key not in kept:
            there = f"; {' and '.join(kept)} can be" if kept else " (none can be)"
            raise ValueError(f"--key '{key}': rows of {program} have no such column to keep{there}.")
    try:
        return _OPEN[program](recipe, paths, keys, name)
    except KeyError as error:
        raise ValueError(f"the recipe in schema.json does not say {error}; prepare the folder again.") from error


def _criteo(recipe: Recipe, paths: Sequence[Path], keys: Sequence[str], name: str) -> RawDataset:
    files = _files(paths)
    separator, num_columns = criteo_rows.UNLABELLED.separator, len(criteo_rows.UNLABELLED.columns)
    labelled = _all_or_none(files, lambda line: line.count(separator) + 1 != num_columns)
    return CriteoRows(files, bool(recipe["bin_integers"]), bool(recipe["missing_indicators"]), name, labelled)


def _avazu(recipe: Recipe, paths: Sequence[Path], keys: Sequence[str], name: str) -> RawDataset:
    files = _files(paths)
    unlabelled = avazu_rows.header_of(avazu_rows.UNLABELLED)
    return AvazuRows(files, bool(keys), _all_or_none(files, lambda line: line != unlabelled))


def _movielens(recipe: Recipe, paths: Sequence[Path], keys: Sequence[str], name: str) -> RawDataset:
    if len(paths) > 1 or not paths[0].is_dir():
        named = ", ".join(f"'{path}'" for path in paths)
        raise ValueError(f"FILE: give the one folder with ratings.dat, users.dat and movies.dat, got {named}.")
    return MovieLensRows(paths[0], bool(recipe["genres"]))


_OPEN: Mapping[str, Callable[[Recipe, Sequence[Path], Sequence[str], str], RawDataset]] = {
    "criteo": _criteo,
    "avazu": _avazu,
    "movielens": _movielens,
}


def _files(paths: Sequence[Path]) -> list[RawFile]:
    return [RawFile(path, name) for path, name in named_files(paths, "FILE")]


def _all_or_none(files: Sequence[RawFile], is_labelled: Callable[[bytes], bool]) -> bool:
    """Whether all files have labels, as their first lines show.

    Raises:
        ValueError: Some have and some have not.
    """
    found = [is_labelled(file.first_line()) for file in files]
    if any(found) and not all(found):
        without = files[found.index(False)].name
        raise ValueError(f"'{without}' has no labels and '{files[found.index(True)].name}' has; prepare them apart.")
    return found[0]
