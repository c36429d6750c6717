"""Make semantic ids: codes of items from their content, from coarse to fine.

    python data_scripts/semantic_ids.py --items movies.parquet --item item --text title plot --out codes/ml-1m
    python data_scripts/semantic_ids.py --items items.csv --item sku --method category-prefix \
        --categories parent_category category brand price --out codes/shop
    python data_scripts/semantic_ids.py --items items.parquet --item item --vectors emb --levels 4 --out codes/own
    python data_scripts/semantic_ids.py --method pieces --from codes/ml-1m --codes 2000 \
        --counts data/ml-1m/counts/item.parquet --vocabulary data/ml-1m/vocabulary/item.parquet --out codes/ml-1m-pieces
    python data_scripts/semantic_ids.py --extend codes/ml-1m --items movies_and_new_ones.parquet --item item \
        --text title plot --out codes/ml-1m-2

Methods: residual-kmeans clusters vectors, and what is left of them, level after level; category-prefix takes categories
as they are; random and shuffled are controls that mean nothing; pieces cuts codes into pieces by SentencePiece, trained
on how often items are shown; rq-vae, which needs torch, is there as recsys semantic_ids.

The folder holds codes.parquet (item, code0, code1, ...), what gives new items their codes, and schema.json. --extend
gives codes to new items and leaves those that are published as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from recsys.argument_types import check_types
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.preparation_arguments import program_name
from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.files.run_program import run_program
from recsys.prepare.semantic.category_prefix import DEFAULT_BINS
from recsys.prepare.semantic.codes import MOST_CODES
from recsys.prepare.semantic.content import read_items
from recsys.prepare.semantic.making import (
    LOADS,
    METHODS,
    QUANTISERS,
    ContentColumns,
    Quantiser,
    QuantiserFit,
    Settings,
    extend_codes,
    make_codes,
)
from recsys.prepare.semantic.measures import CodesUse
from recsys.prepare.semantic.pieces import MODELS
from recsys.prepare.semantic.published import Arrays, Published, read_published
from recsys.prepare.sessions.log import MOST_BINS

DEFAULT_METHOD = "residual-kmeans"

RANGES = {
    "levels": (1, 255),
    "codes": (2, MOST_CODES),
    "text_dim": (1, 1 << 15),
    "bins": (2, MOST_BINS),
    "seed": (0, (1 << 32) - 1),
}
"""Of options that are numbers; SemanticIdTable has as many levels, and NumPy and scikit-learn such seeds."""


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    parsed = parser().parse_args(arguments)
    run_program(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> None:
    made = make(parsed)
    print("\n".join([*summary(made.use), f"fingerprint {made.codes.fingerprint()}, wrote {parsed.out}"]))


def make(
    parsed: argparse.Namespace,
    fits: dict[str, QuantiserFit] = QUANTISERS,
    loads: dict[str, Callable[[Arrays], Quantiser]] = LOADS,
) -> Published:
    """Make the folder that the arguments ask for.

    Raises:
        ValueError: if they do not fit each other or the files.
    """
    _check(parsed, tuple(fits))
    old = None if parsed.extend is None else read_published(parsed.extend)
    content = _content(parsed) if old is None else _same_content(old, parsed.vectors, parsed.encoder)
    settings = Settings(
        content,
        parsed.levels,
        parsed.codes,
        parsed.seed or 0,
        parsed.source,
        parsed.counts,
        parsed.vocabulary,
        parsed.model or MODELS[0],
    )
    with PreparedFolder(parsed.out, parsed.overwrite) as folder:
        frame = None if parsed.items is None else read_items(parsed.items, parsed.item, content.columns)
        if old is None:
            made = make_codes(parsed.method or DEFAULT_METHOD, frame, settings, fits)
        else:
            made = extend_codes(old, frame, settings, loads)
        made.write(folder)
    return made


def _content(parsed: argparse.Namespace) -> ContentColumns:
    text, categories = tuple(parsed.text), tuple(parsed.categories)
    return ContentColumns(parsed.vectors, text, parsed.text_dim, categories, parsed.bins, parsed.encoder)


def _same_content(old: Published, vectors: str | None, encoder: str | None) -> ContentColumns:
    """The columns that published codes were made of; a file of vectors may be another, and a model elsewhere."""
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in old.settings["content"].items()
    }
    wanted = [field.name for field in fields(ContentColumns)]
    if sorted(stored) != sorted(wanted):
        raise ValueError(
            f"--extend: the settings of the codes must have content of {', '.join(wanted)}; make them anew."
        )
    try:
        check_types("content", ContentColumns, stored)
        content = ContentColumns(**stored)
    except ValueError as error:
        raise ValueError(f"--extend: the settings of the codes are not as they were written ({error}).") from error
    if encoder is not None and content.encoder is None:
        raise ValueError(
            "--encoder: the codes to extend were not made with a sentence-transformers model; leave it out."
        )
    content = content if encoder is None else replace(content, encoder=encoder)
    if vectors is not None and content.vectors is None:
        raise ValueError("--vectors: the codes to extend were not made of vectors that were given; leave it out.")
    return content if vectors is None else replace(content, vectors=vectors)


def parser(methods: tuple[str, ...] = (*QUANTISERS, *METHODS)) -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(
        prog=program_name("semantic_ids"), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("--items", type=Path, help="a .parquet, .csv or .tsv file with a row for each item")
    add("--item", default="item", help="the column of its ids (default %(default)s)")
    add("--out", type=Path, required=True, help="folder to make; it appears when everything is written")
    add("--overwrite", action="store_true", help="replace --out if it is a prepared folder")
    add("--method", choices=methods, help=f"default {DEFAULT_METHOD}")
    add("--vectors", help="content: a column of lists of numbers, or a .npy file with a row for each item")
    add("--text", nargs="+", default=[], help="content: columns of texts (TF-IDF and truncated SVD, or --encoder)")
    add("--text-dim", type=int, help="width of the vectors of texts without --encoder (default 64)")
    add("--encoder", help="folder of a saved sentence-transformers model that makes vectors of --text")
    add("--categories", nargs="+", default=[], help="content: columns from coarse to fine, for category-prefix")
    add("--bins", type=int, help=f"bins of a category column of numbers with a point (default {DEFAULT_BINS})")
    add("--levels", type=int, help="codes of an item (default 3)")
    add("--codes", type=int, help="codes of a level (default 256), or pieces (default four for each single code)")
    add("--seed", type=int, help="of all that is drawn (default 0)")
    add("--from", dest="source", type=Path, help="codes that shuffled and pieces start from")
    add("--counts", type=Path, help="counts/item.parquet of a prepared folder, for pieces")
    add("--vocabulary", type=Path, help="vocabulary/item.parquet of the same folder; without it items are ids")
    add("--model", choices=MODELS, help=f"of SentencePiece (default {MODELS[0]})")
    add("--extend", type=Path, help="a folder of codes: new items get codes, and those it has stay")
    return found


def _check(parsed: argparse.Namespace, quantisers: tuple[str, ...]) -> None:
    """Refuse numbers out of range, and options that would not act."""
    for name, (least, most) in RANGES.items():
        value = getattr(parsed, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be in [{least:,}, {most:,}], got {value}.")
    method = "--extend" if parsed.extend is not None else f"--method {parsed.method or DEFAULT_METHOD}"
    for name, where in _acting(quantisers).items():
        if getattr(parsed, name) not in (None, []) and method not in where:
            option = "from" if name == "source" else name.replace("_", "-")
            raise ValueError(f"--{option} does nothing with {method}; leave it out.")
    if parsed.extend is None and not parsed.text and (parsed.encoder or parsed.text_dim):
        raise ValueError(f"--{'encoder' if parsed.encoder else 'text-dim'} does nothing without --text; leave it out.")
    if parsed.encoder and parsed.text_dim:
        raise ValueError("--text-dim does nothing with --encoder, whose vectors have their width; leave it out.")


def _acting(quantisers: tuple[str, ...]) -> dict[str, list[str]]:
    """With which methods, or with --extend, an option acts."""
    quantised = [f"--method {each}" for each in quantisers]
    return {
        "vectors": [*quantised, "--extend"],
        "text": quantised,
        "text_dim": quantised,
        "encoder": [*quantised, "--extend"],
        "categories": ["--method category-prefix"],
        "bins": ["--method category-prefix"],
        "seed": [*quantised, "--method random", "--method shuffled"],
        "model": ["--method pieces"],
        "levels": [*quantised, "--method category-prefix", "--method random"],
        "codes": [*quantised, "--method category-prefix", "--method random", "--method pieces"],
        "counts": ["--method pieces"],
        "vocabulary": ["--method pieces"],
        "source": ["--method pieces", "--method shuffled", "--extend"],
        "method": [*quantised, *(f"--method {each}" for each in METHODS)],
        "items": [*quantised, "--method category-prefix", "--method random", "--extend"],
    }


def summary(use: CodesUse) -> list[str]:
    """Lines that say how codes are used."""
    lines = [
        f"{use.num_items:,} items, {use.num_without:,} without codes; {use.aliased_items:,} share all their codes with "
        f"another, at most {use.largest_alias:,} the same"
    ]
    if use.reconstruction_error is not None:
        lines.append(f"reconstruction error {use.reconstruction_error:.4f} of the variance")
    lines += [
        f"level {level.level}: {level.used:,} of {use.num_codes:,} codes used, perplexity {level.perplexity:.1f}, gini "
        f"{level.gini:.3f}; {level.num_prefixes:,} prefixes, {level.alone_fraction:.1%} of items alone"
        for level in use.levels
    ]
    return lines


if __name__ == "__main__":
    main()
