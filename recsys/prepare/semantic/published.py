"""A folder of codes: codes.parquet, what gives new items theirs, and a manifest that is written last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.prepared_files import listed_files
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


def read_published(folder: Path) -> Published:
    """What a folder of codes holds.

    Raises:
        ValueError: if it is no such folder, or its codes are not those of the manifest.
    """
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if manifest.get("kind") != KIND:
        raise ValueError(f"'{folder}' is no folder of semantic ids; it has no {MANIFEST} that says so.")
    codes = read_codes(folder / CODES)
    if codes.fingerprint() != manifest["fingerprint"]:
        raise ValueError(f"'{folder}': {CODES} is not the one that {MANIFEST} describes; make the folder again.")
    arrays: Arrays = {}
    if (folder / ENCODER).is_file():
        with np.load(folder / ENCODER, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    error = manifest["use"]["reconstruction_error"]
    return Published(codes, manifest["method"], manifest["settings"], arrays, error)


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
    fresh_items = new.items.cast(published.items.dtype)
    places = {item: row for row, item in enumerate(fresh_items.to_list())}
    values = published.values.copy()
    for row in np.flatnonzero(~published.has_codes):
        place = places.get(published.items[int(row)])
        if place is not None:
            values[row] = new.values[place]
    known = fresh_items.is_in(published.items.implode()).to_numpy()
    items = published.items.append(fresh_items.filter(~known)) if not known.all() else published.items
    return Codes(items, np.concatenate([values, new.values[~known]]), published.num_codes)
