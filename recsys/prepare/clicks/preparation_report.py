"""What is said of a prepared folder of clicks: in schema.json, and on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.prepare.clicks.dense_range import far_numbers
from recsys.prepare.clicks.dense_values import DenseTransform
from recsys.prepare.clicks.raw_dataset import Feature, RawDataset
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawFile

EMPTY = {
    "train": "fit cannot do without",
    "val": "fit trains without validation, and nothing tells which epoch was best",
    "test": "nothing tells how good a model is",
}
"""What follows for whoever prepares data without the rows of a split."""


@dataclass(frozen=True)
class FeatureSummary:
    """What the report and schema.json say of an encoded feature.

    Attributes:
        num_embeddings: Ids, with id 0.
        num_values: Distinct values; None where values are hashed or binned.
        num_unseen: Values of val and test rows that share id 0.
        num_new: Ids appended to known ones.
        trains_rest: Whether some train row has id 0.
        num_held_out: Values of val and test rows that are not missing.
        is_known: Whether an earlier preparation has numbered its values.
        num_trained: Ids that train has, id 0 included.
        longest: Values of the row that has most; None where every row has one.
    """

    num_embeddings: int
    num_values: int | None
    num_unseen: int = 0
    num_new: int = 0
    trains_rest: bool = True
    num_held_out: int = 0
    is_known: bool = False
    num_trained: int = 2
    longest: int | None = None


def schema_of(
    dataset: RawDataset,
    report: LineReport,
    encoded: Mapping[str, FeatureSummary],
    fitted: Mapping[str, DenseTransform],
    splits: Mapping[str, object],
    says: Mapping[str, object],
) -> dict[str, object]:
    """Return the content of schema.json, all but its files."""
    beside = dataset.beside
    optional: dict[str, object] = {}
    optional |= {"weight": "weight"} if beside.weight else {}
    optional |= {"group": "group"} if beside.group else {}
    optional |= {"keys": list(beside.keys)} if beside.keys else {}
    return {
        "dataset": dataset.name,
        "label": "label" if beside.label else None,
        **optional,
        "features": [
            _entry(feature, encoded.get(feature.name), fitted.get(feature.name)) for feature in dataset.features
        ],
        "splits": splits,
        **says,
        "source": {
            "files": {file.name: _origin(file) for file in [*dataset.main_files, *dataset.side_files]},
            "lines": {file: counts.as_json() for file, counts in report.files.items()},
        },
    }


def _entry(feature: Feature, encoded: FeatureSummary | None, fitted: DenseTransform | None) -> dict[str, object]:
    is_binned = fitted is not None and fitted.kind == "bins"
    entry: dict[str, object] = {"name": feature.name, "kind": "categorical" if is_binned else feature.kind}
    if encoded is not None:
        entry["num_embeddings"] = encoded.num_embeddings
    if feature.pooling is not None:
        entry["pooling"] = feature.pooling
    if fitted is not None:
        entry["transform"] = fitted.as_json()
    return entry


def _origin(file: RawFile) -> dict[str, object]:
    return {"bytes": file.num_bytes, "sha256": file.sha256}


def describe(
    dataset: RawDataset,
    encoded: Mapping[str, FeatureSummary],
    fitted: Mapping[str, DenseTransform],
    splits: Mapping[str, Mapping[str, object]],
    num_rows: int,
) -> list[str]:
    """Return what is printed of the rows and their features."""
    lines = [f"{name}: {split['num_rows']:,} rows{_rate(split['label_rate'])}" for name, split in splits.items()]
    lines += [f"WARNING: {name} has no rows; {EMPTY[name]}" for name in splits if not splits[name]["num_rows"]]
    if splits.get("train", {}).get("label_rate") in (0.0, 1.0):
        lines.append("WARNING: all rows of train have one label, and nothing can be learned; look at the label column")
    missing = {name: transform.num_missing for name, transform in fitted.items() if transform.num_missing}
    if missing:
        shares = ", ".join(f"{name} {count / num_rows:.1%}" for name, count in missing.items())
        lines.append(f"missing numbers, of all rows: {shares}")
    if "train" in splits:
        lines += _constant(encoded, fitted, len(dataset.features))
    lines += far_numbers(fitted)
    lines += _unknown(encoded, "train" in splits)
    lines += [
        f"WARNING: {name} is of lists, and no row has two values; is there something else between them?"
        for name, each in encoded.items()
        if each.longest is not None and each.longest < 2 <= each.num_embeddings
    ]
    num_values = [summary.num_values for summary in encoded.values() if summary.num_values is not None]
    if num_values:
        lines.append(f"{sum(num_values):,} distinct values in {len(num_values)} features, all splits")
    num_new = sum(summary.num_new for summary in encoded.values())
    if num_new:
        lines.append(f"{num_new:,} new ids behind the known ones")
    num_embeddings = sum(summary.num_embeddings for summary in encoded.values())
    lines.append(f"{num_embeddings:,} ids, of which {len(encoded)} are id 0 (rare, unseen or missing)")
    return [*lines, *_untrained(encoded, splits)]


def _unknown(encoded: Mapping[str, FeatureSummary], trains: bool) -> list[str]:
    """Of rows with an earlier vocabulary: how many values it lacks, and where that can hardly be meant.

    Where there are rows to train on, which have given the vocabulary their values, it is what both lack.
    """
    known = {name: each for name, each in encoded.items() if each.is_known and each.num_held_out}
    shares = ", ".join(f"{name} {each.num_unseen / each.num_held_out:.1%}" for name, each in known.items())
    if trains:
        said = "values of val and test that neither the folder nor train knows, or only as rare ones, read as id 0"
        return [f"{said}: {shares}"] if known else []
    lines = [f"values that the folder does not know, or only as rare ones, read as id 0: {shares}"] if known else []
    return lines + [
        f"WARNING: {name}: none of {each.num_held_out:,} values is known; is it the same column, written the same way?"
        for name, each in known.items()
        if each.num_unseen == each.num_held_out
    ]


def _constant(
    encoded: Mapping[str, FeatureSummary], fitted: Mapping[str, DenseTransform], num_features: int
) -> list[str]:
    """Features of which train has one value, rare ones taken together: nothing can be learned of these."""
    names = [name for name, each in encoded.items() if each.num_trained < 2]
    names += [name for name, each in fitted.items() if each.seen is not None and each.seen[0] == each.seen[1]]
    if not names:
        return []
    said = f"WARNING: of {', '.join(names)} train has one value, rare ones taken together, and nothing is learned of it"
    return [said] if len(names) < num_features else [f"{said}; it is all that there is (see --min-count)"]


def _untrained(encoded: Mapping[str, FeatureSummary], splits: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Unseen values read the row of id 0; nothing has trained it where train has no rare or missing value."""
    if "train" not in splits:
        return []
    found = {name: each.num_unseen for name, each in encoded.items() if each.num_unseen and not each.trains_rest}
    if not found:
        return []
    named = ", ".join(f"{name} ({count:,})" for name, count in found.items())
    return [
        f"values of val and test that train lacks read a row that nothing trains, in {named}; --min-count 2 trains it"
    ]


def _rate(label_rate: object) -> str:
    return "" if label_rate is None else f", label rate {label_rate:.4f}"
