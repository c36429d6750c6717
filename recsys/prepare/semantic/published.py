"""A folder of codes: codes.parquet, what gives new items theirs, and a manifest that is written last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.prepared_files import file_identity, listed_files
from recsys.prepare.semantic.codes import Codes, read_codes
from recsys.prepare.semantic.content import Vectors
from recsys.prepare.semantic.measures import CodesUse, use_of

CODES, VECTORS, ENCODER, MANIFEST = "codes.parquet", "vectors.parquet", "encoder.npz", "schema.json"
KIND = "semantic_ids"
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Published:
    """Codes and what made them.

    Args:
        codes: of all items.
        method: name of what made them.
        settings: that it was given.
        arrays: of what gives new items their codes; empty where nothing does.
        reconstruction_error: of the vectors; None where there are none.
        vectors: that were made of texts, for a ContentTable.
    """

    codes: Codes
    method: str
    settings: dict[str, Any]
    arrays: Arrays
    reconstruction_error: float | None = None
    vectors: Vectors | None = None

    @property
    def use(self) -> CodesUse:
        """How the codes are used."""
        return use_of(self.codes, self.reconstruction_error)

    def write(self, folder: Path) -> None:
        """Write all files into an empty folder, the manifest last."""
        self.codes.write(folder / CODES)
        if self.vectors is not None:
            lists = pl.Series(self.vectors.values, dtype=pl.Array(pl.Float32, self.vectors.values.shape[1]))
            frame = pl.DataFrame({"item": self.vectors.items, "vector": lists.arr.to_list()})
            frame.write_parquet(folder / VECTORS)
        if self.arrays:
            np.savez_compressed(folder / ENCODER, **self.arrays)  # type: ignore[arg-type]
        manifest = {
            "kind": KIND,
            "method": self.method,
            "settings": self.settings,
            "num_items": len(self.codes.items),
            "num_levels": self.codes.num_levels,
            "num_codes": self.codes.num_codes,
            "fingerprint": self.codes.fingerprint(),
            "use": asdict(self.use),
            "files": listed_files(folder),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


class EncoderArrays(Arrays):
    """What a folder keeps for new items; a name that it lacks is a user's mistake, not ours."""

    def __missing__(self, name: str) -> NDArray[np.generic]:
        raise ValueError(f"{ENCODER} of the codes has no '{name}', which new items need; make the folder again.")


def read_published(folder: Path) -> Published:
    """What a folder of codes holds.

    Raises:
        ValueError: if it is no such folder, or its files are not those of the manifest.
    """
    manifest = _manifest(folder)
    codes = read_codes(folder / CODES)
    if codes.fingerprint() != manifest["fingerprint"]:
        raise ValueError(f"'{folder}': {CODES} is not the one that {MANIFEST} describes; make the folder again.")
    error = manifest["use"].get("reconstruction_error")
    return Published(codes, manifest["method"], manifest["settings"], _encoder(folder, manifest), error)


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest, with all that is read of it.

    Raises:
        ValueError: if it is none, or one that was changed by hand.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is not valid JSON ({error}); make the folder again.") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ValueError(f"'{folder}' is no folder of semantic ids; it has no {MANIFEST} that says so.")
    entries = {"fingerprint": str, "method": str, "settings": dict, "use": dict, "files": dict}
    for name, kind in entries.items():
        if not isinstance(manifest.get(name), kind):
            raise ValueError(f"'{path}': {name} is not as it was written, got {manifest.get(name)!r}; make it again.")
    if not isinstance(manifest["settings"].get("content"), dict):
        raise ValueError(f"'{path}': settings do not say what the codes were made of; make the folder again.")
    return manifest


def _encoder(folder: Path, manifest: dict[str, Any]) -> Arrays:
    """What gives new items their codes; nothing where the codes were made without.

    Raises:
        ValueError: if the file is not the one that the manifest lists.
    """
    listed = manifest["files"].get(ENCODER)
    if listed is None:
        return EncoderArrays()
    path = folder / ENCODER
    if not path.is_file() or file_identity(path) != listed:
        raise ValueError(f"'{path}' is not the file that {MANIFEST} lists; make the folder again.")
    with np.load(path, allow_pickle=False) as stored:
        return EncoderArrays({name: stored[name] for name in stored.files})


def appended(published: Codes, new: Codes) -> Codes:
    """The published codes as they are, and those of items that had none or were not there.

    Raises:
        ValueError: if the new codes are of another shape.
    """
    if (new.num_levels, new.num_codes) != (published.num_levels, published.num_codes):
        raise ValueError(
            f"--extend: the codes are {published.num_levels} levels of {published.num_codes}, the new ones "
            f"{new.num_levels} of {new.num_codes}."
        )
    fresh_items = as_published(new.items, published.items.dtype)
    places = {item: row for row, item in enumerate(fresh_items.to_list())}
    values = published.values.copy()
    for row in np.flatnonzero(~published.has_codes):
        place = places.get(published.items[int(row)])
        if place is not None:
            values[row] = new.values[place]
    known = fresh_items.is_in(published.items.implode()).to_numpy()
    items = published.items.append(fresh_items.filter(~known)) if not known.all() else published.items
    return Codes(items, np.concatenate([values, new.values[~known]]), published.num_codes)


def as_published(items: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Items as a folder of codes stores them: 7 and the text 7 are one item, 007 is another.

    Raises:
        ValueError: if the folder's items are of a type that cannot hold one of these.
    """
    found = items.cast(dtype, strict=False)
    other = ~found.cast(pl.String).eq_missing(items.cast(pl.String))
    if other.any():
        raise ValueError(
            f"--extend: the items of the codes are of type {dtype}, and item {items.filter(other)[0]!r} is none of "
            "them; write it as they are, or make the codes anew of a file whose items are texts."
        )
    return found
