"""Sequences of codes cut into pieces by SentencePiece, trained on how often items are shown.

Source: Singh et al., "Better generalization with semantic ids" (RecSys 2024), arXiv:2306.08121. Codes that often follow
each other become one piece, so that a popular item ends with a piece, and a row, of its own.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.semantic.codes import Codes

MODELS = ("bpe", "unigram")
# Each code of each level is a character of the CJK block: beyond U+FFFF the unigram model learns single ones only.
_FIRST_CHARACTER, _NUM_CHARACTERS = 0x4E00, 20_992


@dataclass(frozen=True)
class Pieces:
    """A trained model that cuts codes into pieces.

    Args:
        model: as SentencePiece writes it.
        num_levels: L of the codes.
        num_codes: K of the codes.
    """

    model: bytes
    num_levels: int
    num_codes: int

    def codes(self, codes: Codes) -> Codes:
        """Pieces of items in place of their codes; items with fewer pieces than others end with missing ones.

        Raises:
            ValueError: if the codes have other levels, or others of a level, than those that the pieces are made of.
        """
        import sentencepiece

        if (codes.num_levels, codes.num_codes) != (self.num_levels, self.num_codes):
            # Each code of each level is a character: other sizes would spell other codes.
            raise ValueError(
                f"codes: pieces are made of {self.num_levels} levels of {self.num_codes} codes, got {codes.num_levels} "
                f"levels of {codes.num_codes}; give codes of the same method and sizes."
            )

        processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)
        lines = sentences(codes)
        pieces = processor.encode([line for line in lines if line])
        values = np.full((len(lines), codes.num_levels), -1, dtype=np.int64)
        for row, own in zip(np.flatnonzero(codes.has_codes), pieces, strict=True):
            values[row, : len(own)] = own
        longest = max((len(own) for own in pieces), default=1)
        return Codes(codes.items, values[:, :longest], processor.get_piece_size())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of, for a file."""
        shape = np.array([self.num_levels, self.num_codes])
        return {"pieces_model": np.frombuffer(self.model, dtype=np.uint8), "pieces_shape": shape}

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[np.generic]]) -> Pieces:
        """What gave these."""
        num_levels, num_codes = (int(each) for each in arrays["pieces_shape"])
        return Pieces(arrays["pieces_model"].tobytes(), num_levels, num_codes)


def fit_pieces(codes: Codes, counts: NDArray[np.int64], num_pieces: int, model_type: str) -> Pieces:
    """Train on the impressions: each item's codes as often as the item is shown.

    Args:
        codes: of items.
        counts: [M] impressions of each item in training; an item without any teaches nothing.
        num_pieces: at most, all single codes among them.
        model_type: "bpe", or "unigram", which the paper does not tell apart; the latter keeps popular items less whole.

    Raises:
        ValueError: if sentencepiece is not installed, there are too many codes for its alphabet, too few pieces for
            all single codes, or no item with codes was shown.
    """
    if np.shape(counts) != (len(codes.values),):
        raise ValueError(f"counts must be [{len(codes.values)}], one for every item, got {list(np.shape(counts))}.")
    num_single = codes.num_levels * codes.num_codes
    if num_single > _NUM_CHARACTERS:
        raise ValueError(
            f"--codes: {codes.num_levels} levels of {codes.num_codes} codes are {num_single} characters, and "
            f"SentencePiece has {_NUM_CHARACTERS}."
        )
    if num_pieces <= num_single:
        raise ValueError(
            f"--codes: the {num_single} single codes are pieces too; give more than that, got {num_pieces}."
        )
    shown = (counts > 0) & codes.has_codes
    if not shown.any():
        raise ValueError("--counts: no item with codes has impressions.")
    lines = sentences(codes)
    rows = [(lines[row], int(counts[row])) for row in np.flatnonzero(shown)]
    never = set(map(chr, _FIRST_CHARACTER + np.arange(num_single))) - set("".join(line for line, _ in rows))
    rows += [(character, 1) for character in sorted(never)]
    model = _train(rows, num_pieces, model_type, codes.num_levels)
    return Pieces(model, codes.num_levels, codes.num_codes)


def _train(rows: Sequence[tuple[str, int]], num_pieces: int, model_type: str, longest: int) -> bytes:
    """A SentencePiece model of lines, each as often as it is shown; pieces are of `longest` characters at most."""
    trainer = _trainer()
    with tempfile.TemporaryDirectory() as folder:
        path, seeds = Path(folder) / "impressions.tsv", Path(folder) / "seeds.tsv"
        path.write_text("".join(f"{line}\t{count}\n" for line, count in rows), encoding="utf-8")
        # The unigram model finds pieces by what follows them; nothing follows whole items, so all pieces are said.
        seeds.write_text("".join(f"{piece}\t{count}\n" for piece, count in _all_pieces(rows)), encoding="utf-8")
        trainer.train(
            input=str(path),
            input_format="tsv",
            **({"seed_sentencepieces_file": str(seeds)} if model_type == "unigram" else {}),
            model_prefix=str(Path(folder) / "pieces"),
            model_type=model_type,
            vocab_size=num_pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentencepiece_length=longest,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            split_by_whitespace=False,
            split_by_unicode_script=False,
            split_by_number=False,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
        return (Path(folder) / "pieces.model").read_bytes()


def sentences(codes: Codes) -> list[str]:
    """The codes of each item as characters, another set at each level; an empty text for an item without."""
    characters = _FIRST_CHARACTER + np.arange(codes.num_levels) * codes.num_codes + codes.values
    return ["".join(map(chr, row[row_codes >= 0])) for row, row_codes in zip(characters, codes.values, strict=True)]


def _all_pieces(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Every run of codes, and how often it is shown, the most often shown first."""
    shown: Counter[str] = Counter()
    for line, count in rows:
        for first in range(len(line)):
            for last in range(first + 1, len(line) + 1):
                shown[line[first:last]] += count
    return shown.most_common()


def _trainer():  # type: ignore[no-untyped-def]  # noqa: ANN202
    try:
        from sentencepiece import SentencePieceTrainer
    except ImportError as error:
        raise ValueError("--method pieces needs SentencePiece: pip install 'recsys-tables[semantic]'.") from error
    return SentencePieceTrainer
