"""From what is known of items to their codes: the methods, and new items for codes that are published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from recsys.prepare.semantic.category_prefix import CategoryPrefix, fit_categories
from recsys.prepare.semantic.codes import Codes, read_codes
from recsys.prepare.semantic.content import Matrix, Vectors, column_vectors, file_vectors
from recsys.prepare.semantic.controls import random_codes, shuffled_codes
from recsys.prepare.semantic.impressions import counts_of
from recsys.prepare.semantic.pieces import Pieces, fit_pieces
from recsys.prepare.semantic.published import CODES, Arrays, Published, appended, as_published
from recsys.prepare.semantic.residual_kmeans import Codebooks, fit_residual_kmeans
from recsys.prepare.semantic.sentences import SentenceEncoder
from recsys.prepare.semantic.texts import TextEncoder, fit_texts

DEFAULT_CODES, DEFAULT_LEVELS, DEFAULT_TEXT_DIM = 256, 3, 64


@dataclass(frozen=True)
class ContentColumns:
    """Which content of items is read.

    Args:
        vectors: a column of lists, or a .npy file with a row for each item.
        text: columns of texts, which become vectors.
        text_dim: width of the vectors of texts; None for 64, or the encoder's.
        categories: columns of categories, from coarse to fine.
        num_bins: of a column of categories that holds numbers with a point; None for 10.
        encoder: folder of a sentence-transformers model of the texts; None takes TF-IDF and its singular vectors.
    """

    vectors: str | None = None
    text: tuple[str, ...] = ()
    text_dim: int | None = None
    categories: tuple[str, ...] = ()
    num_bins: int | None = None
    encoder: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of the file of items."""
        own = [] if self.vectors is None or self.vectors.endswith(".npy") else [self.vectors]
        return list(dict.fromkeys([*own, *self.text, *self.categories]))


@dataclass(frozen=True)
class Settings:
    """What decides the codes beside the items.

    Args:
        content: of items.
        levels: L; None for the method's own.
        codes: K; None for the method's own.
        seed: of everything drawn.
        source: folder or file of codes that the method starts from.
        counts: file of impressions.
        vocabulary: file of what the ids of counts stand for.
        model_type: of SentencePiece.
    """

    content: ContentColumns
    levels: int | None = None
    codes: int | None = None
    seed: int = 0
    source: Path | None = None
    counts: Path | None = None
    vocabulary: Path | None = None
    model_type: str = "bpe"

    def as_json(self) -> dict[str, Any]:
        """Plain values for the manifest; files by their names."""
        plain = {key: value.name if isinstance(value, Path) else value for key, value in vars(self).items()}
        return {**plain, "content": asdict(self.content)}


class Quantiser(Protocol):
    """What gives vectors their codes."""

    def codes(self, vectors: Vectors) -> Codes:
        """Codes of vectors."""

    def rebuilt(self, values: Any) -> Matrix:
        """The vectors that codes stand for."""

    def arrays(self) -> Arrays:
        """What it is made of, for a file."""


QuantiserFit = Callable[[Matrix, int, int, int], Quantiser]
"""Called with (vectors, num_levels, num_codes, seed)."""


def make_codes(method: str, frame: pl.DataFrame | None, settings: Settings, fits: dict[str, QuantiserFit]) -> Published:
    """Codes of items by a method.

    Args:
        method: one of METHODS, or a name of `fits`.
        frame: of items; None for the methods that start from codes.
        settings: of the method.
        fits: how vectors are quantised, by the method's name.

    Raises:
        ValueError: if the settings are not those of the method.
    """
    if method in fits:
        return _quantised(method, _required(frame, "--items"), settings, fits[method])
    return METHODS[method](frame, settings)


def _quantised(method: str, frame: pl.DataFrame, settings: Settings, fit: QuantiserFit) -> Published:
    vectors, arrays = content_vectors(frame, settings.content, None, settings.seed)
    quantiser = fit(vectors.values, settings.levels or DEFAULT_LEVELS, settings.codes or DEFAULT_CODES, settings.seed)
    codes = quantiser.codes(vectors)
    error = reconstruction_error(vectors.values, quantiser, codes)
    return Published(
        with_all_items(codes, frame["item"]),
        method,
        settings.as_json(),
        {**arrays, **quantiser.arrays()},
        error,
        vectors if settings.content.text else None,
    )


def _categories(frame: pl.DataFrame | None, settings: Settings) -> Published:
    frame, content = _required(frame, "--items"), settings.content
    if not content.categories:
        raise ValueError("--method category-prefix needs --categories, columns from coarse to fine.")
    twice = next((name for name in content.categories if content.categories.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"--categories: '{twice}' is named twice, and its second level tells nothing; name it once.")
    if settings.levels is not None and settings.levels != len(content.categories):
        raise ValueError(f"--levels: {len(content.categories)} --categories make as many levels; leave it out.")
    prefix = fit_categories(frame, list(content.categories), settings.codes, content.num_bins)
    return Published(prefix.codes(frame), "category-prefix", settings.as_json(), prefix.arrays())


def _random(frame: pl.DataFrame | None, settings: Settings) -> Published:
    items = _required(frame, "--items")["item"]
    codes = random_codes(items, settings.levels or DEFAULT_LEVELS, settings.codes or DEFAULT_CODES, settings.seed)
    return Published(codes, "random", settings.as_json(), {})


def _shuffled(frame: pl.DataFrame | None, settings: Settings) -> Published:
    return Published(shuffled_codes(_source(settings), settings.seed), "shuffled", settings.as_json(), {})


def _pieces(frame: pl.DataFrame | None, settings: Settings) -> Published:
    codes = _source(settings)
    if settings.counts is None:
        raise ValueError("--method pieces needs --counts, how often each item is shown (counts/item.parquet).")
    counts = counts_of(codes.items, settings.counts, settings.vocabulary)
    num_pieces = settings.codes or 4 * codes.num_levels * codes.num_codes
    pieces = fit_pieces(codes, counts, num_pieces, settings.model_type)
    return Published(pieces.codes(codes), "pieces", settings.as_json(), pieces.arrays())


METHODS: dict[str, Callable[[pl.DataFrame | None, Settings], Published]] = {
    "category-prefix": _categories,
    "random": _random,
    "shuffled": _shuffled,
    "pieces": _pieces,
}
QUANTISERS: dict[str, QuantiserFit] = {"residual-kmeans": fit_residual_kmeans}


def extend_codes(
    old: Published, frame: pl.DataFrame | None, settings: Settings, loads: dict[str, Callable[[Arrays], Quantiser]]
) -> Published:
    """The codes of a folder, and those of items that are not among them; none that is published moves.

    Args:
        old: what is published.
        frame: of items, old or new; None for pieces.
        settings: where the content of items is, and for pieces their codes; all else is as it was.
        loads: makes a quantiser of its arrays, by the method's name.

    Raises:
        ValueError: if the method gives no codes to new items.
    """
    _refuse_idle(old, frame, settings)
    arrays, made = old.arrays, None
    if old.method == "pieces":
        new = Pieces.of_arrays(old.arrays).codes(_new_pieces(old, settings))
        new = Codes(new.items, _as_wide(new.values, old.codes.num_levels), new.num_codes)
    elif old.method == "category-prefix":
        fresh = _fresh(old, _required(frame, "--items"))
        prefix = CategoryPrefix.of_arrays(old.arrays).extended(fresh)
        new, arrays = prefix.codes(fresh), prefix.arrays()
    elif old.method in loads:
        everything = _required(frame, "--items")
        fresh = _fresh(old, everything)
        vectors, _ = content_vectors(everything, settings.content, old.arrays, settings.seed)
        new = with_all_items(loads[old.method](old.arrays).codes(vectors), everything["item"])
        made = vectors if settings.content.text else None
        chosen = new.items.is_in(fresh["item"].implode())
        new = Codes(new.items.filter(chosen), new.values[chosen.to_numpy()], new.num_codes)
    else:
        raise ValueError(f"--extend: codes of the method {old.method} mean nothing; make them anew.")
    return Published(appended(old.codes, new), old.method, old.settings, arrays, old.reconstruction_error, made)


def _refuse_idle(old: Published, frame: pl.DataFrame | None, settings: Settings) -> None:
    """Pieces are extended by codes, all others by what items are."""
    option, given = ("--items", frame) if old.method == "pieces" else ("--from", settings.source)
    if given is not None:
        raise ValueError(f"{option} does nothing with --extend of codes of the method {old.method}; leave it out.")


def _fresh(old: Published, frame: pl.DataFrame) -> pl.DataFrame:
    """The items that have no codes yet."""
    known = old.codes.items.filter(pl.Series(old.codes.has_codes))
    return frame.filter(~as_published(frame["item"], known.dtype).is_in(known.implode()))


def _new_pieces(old: Published, settings: Settings) -> Codes:
    """The codes of items without pieces, of those that --from has."""
    codes = _source(settings)
    missing = ~as_published(codes.items, old.codes.items.dtype).is_in(old.codes.items.implode())
    kept = missing.to_numpy()
    return Codes(codes.items.filter(missing), codes.values[kept], codes.num_codes)


def _as_wide(values: Any, width: int) -> Any:
    if values.shape[1] > width:
        raise ValueError(f"--extend: a new item has {values.shape[1]} pieces, the published ones at most {width}.")
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=-1)


LOADS: dict[str, Callable[[Arrays], Quantiser]] = {"residual-kmeans": Codebooks.of_arrays}


def content_vectors(
    frame: pl.DataFrame, content: ContentColumns, arrays: Arrays | None, seed: int
) -> tuple[Vectors, Arrays]:
    """Vectors of items, given or of their texts, and what new texts need.

    Args:
        frame: of items.
        content: where they are.
        arrays: of an encoder of texts that is to be used again.
        seed: of one that is to be made.

    Raises:
        ValueError: unless either vectors or texts are named.
    """
    if (content.vectors is None) == (not content.text):
        raise ValueError("give either --vectors, a column or a .npy file, or --text, columns of texts.")
    if content.vectors is not None:
        given = content.vectors
        found = file_vectors(Path(given), frame["item"]) if given.endswith(".npy") else column_vectors(frame, given)
        return found, {}
    columns = list(content.text)
    encoder: SentenceEncoder | TextEncoder
    if content.encoder is not None:
        encoder = SentenceEncoder(content.encoder)
        encoder = encoder if arrays is None else encoder.known_by(arrays)
    elif arrays is not None:
        encoder = TextEncoder.of_arrays(arrays)
    else:
        encoder = fit_texts(frame, columns, content.text_dim or DEFAULT_TEXT_DIM, seed)
    return encoder(frame, columns), encoder.arrays()


def reconstruction_error(vectors: Matrix, quantiser: Quantiser, codes: Codes) -> float:
    """Mean squared distance of vectors from what their codes stand for, over their variance."""
    rebuilt = quantiser.rebuilt(codes.values)
    spread = float(((vectors - vectors.mean(axis=0)) ** 2).sum())
    return float(((vectors - rebuilt) ** 2).sum()) / spread if spread else 0.0


def with_all_items(codes: Codes, items: pl.Series) -> Codes:
    """Codes of all items in their order; those that have none are missing."""
    places = pl.DataFrame({"item": codes.items}).with_row_index("row")
    rows = items.to_frame("item").join(places, on="item", how="left", maintain_order="left")["row"]
    values = np.full((len(items), codes.num_levels), -1, dtype=np.int64)
    known = rows.is_not_null().to_numpy()
    values[known] = codes.values[rows.drop_nulls().to_numpy()]
    return Codes(items, values, codes.num_codes)


def _required(frame: pl.DataFrame | None, option: str) -> pl.DataFrame:
    if frame is None:
        raise ValueError(f"give {option}, a file with a row for each item.")
    return frame


def _source(settings: Settings) -> Codes:
    if settings.source is None:
        raise ValueError("give --from, a folder of semantic ids or a file of codes.")
    return read_codes(settings.source / CODES if settings.source.is_dir() else settings.source)
