"""Criteo, end to end, against golden ids and a slow oracle."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.prepare.clicks.row_split import uniform
from recsys.prepare.files import raw_files
from recsys.prepare.programs import criteo

ROOT = Path(__file__).parents[3]


def run(raw: Path, out: Path, *options: str) -> None:
    criteo.main(["--raw", str(raw), "--out", str(out), *options])


def test_golden_ids(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out")
    folder = open_prepared(tmp_path / "out")
    assert folder.column("train", "C1") == [2, 2, 1, 1, 3, 0, 2, 1]
    assert folder.column("val", "C1") == [0]
    assert folder.column("test", "C1") == [3]
    assert folder.vocabulary("C1") == {"a": 1, "b": 2, "c": 3}
    assert folder.counts("C1") == {0: 1, 1: 3, 2: 3, 3: 1}
    assert folder.column("train", "label") == [0, 1] * 4


def test_min_count(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out", "--min-count", "2")
    folder = open_prepared(tmp_path / "out")
    assert folder.column("train", "C1") == [2, 2, 1, 1, 0, 0, 2, 1]
    assert folder.counts("C1") == {0: 2, 1: 3, 2: 3}
    assert folder.feature("C1")["num_embeddings"] == 3


def test_dense_values(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out")
    folder = open_prepared(tmp_path / "out")
    expected = [math.log(value) for value in (1, 1, 4)] + [0.0] + [math.log(value) for value in (9, 5, 5, 5)]
    assert folder.column("train", "I2") == pytest.approx(expected, abs=1e-6)
    assert folder.column("train", "I1") == pytest.approx([math.log(row + 1) for row in range(8)], abs=1e-6)


def test_schema(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out")
    schema = open_prepared(tmp_path / "out").schema
    assert schema["format_version"] == 1
    assert schema["dataset"] == "criteo"
    assert schema["label"] == "label"
    assert schema["features"][0] == {"name": "I1", "kind": "dense"}
    assert schema["features"][13] == {"name": "C1", "kind": "categorical", "num_embeddings": 4}
    assert [entry["name"] for entry in schema["features"]] == [f"I{i}" for i in range(1, 14)] + [
        f"C{i}" for i in range(1, 27)
    ]
    assert schema["splits"]["train"] == {"num_rows": 8, "label_rate": 0.5}
    assert schema["splits"]["val"] == {"num_rows": 1, "label_rate": 0.0}
    assert schema["split"] == {"by": "rows", "fractions": [0.8, 0.1, 0.1], "seed": None}
    assert schema["min_count"] == 1
    assert schema["hash_bits"] is None
    data = criteo_raw.read_bytes()
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert schema["source"]["files"] == {"train.txt": entry}


def test_bin_integers(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out", "--bin-integers")
    folder = open_prepared(tmp_path / "out")
    words = {value: word for word, value in folder.vocabulary("I2_bin").items()}
    assert [words.get(id_) for id_ in folder.column("train", "I2_bin")] == ["neg", "neg", "0", None, "2", "1", "1", "1"]
    words = {value: word for word, value in folder.vocabulary("I1_bin").items()}
    assert [words[id_] for id_ in folder.column("train", "I1_bin")] == ["0", "1", "1", "2", "2", "2", "2", "3"]


def test_missing_indicators(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out", "--missing-indicators")
    folder = open_prepared(tmp_path / "out")
    lines = [line.split("\t") for line in criteo_raw.read_text().splitlines()]
    assert any(line[2] == "" for line in lines)
    for number in range(1, 14):
        expected = [float(line[number] == "") for line in lines[:8]]
        assert folder.column("train", f"I{number}_missing") == expected
    assert [entry["kind"] for entry in folder.schema["features"][:27]] == ["dense"] * 26 + ["categorical"]


def test_hash_bits(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "out", "--hash-bits", "4")
    folder = open_prepared(tmp_path / "out")
    ids = folder.column("train", "C1")
    assert ids == [5, 5, 11, 11, 3, 0, 5, 11]
    assert ids == [slow_hash(value, "C1", 4) for value in ("b", "b", "a", "a", "c", "", "b", "a")]
    assert folder.feature("C1")["num_embeddings"] == 16
    assert folder.counts("C1") == {id_: ids.count(id_) for id_ in range(16)}
    assert not (tmp_path / "out" / "vocabulary").exists()
    assert folder.column("train", "C2")[0] != folder.column("train", "C3")[0], "features are seeded by their names"


def test_gzip_crlf_and_no_last_newline_change_nothing_but_the_source(criteo_raw, tmp_path, open_prepared):
    run(criteo_raw, tmp_path / "plain")
    packed, dos = tmp_path / "train.txt.gz", tmp_path / "dos.txt"
    packed.write_bytes(gzip.compress(criteo_raw.read_bytes()))
    dos.write_bytes(criteo_raw.read_bytes().replace(b"\n", b"\r\n")[:-2])
    plain = open_prepared(tmp_path / "plain").file_bytes()
    for number, raw in enumerate((packed, dos)):
        run(raw, tmp_path / f"out{number}")
        other = open_prepared(tmp_path / f"out{number}").file_bytes()
        assert other.keys() == plain.keys()
        assert {name for name in plain if plain[name] != other[name]} == {"schema.json"}


def test_same_input_same_bytes(criteo_raw, tmp_path, open_prepared):
    for name in ("first", "second"):
        run(criteo_raw, tmp_path / name, "--split", "random", "--seed", "3", "--bin-integers")
    assert open_prepared(tmp_path / "first").file_bytes() == open_prepared(tmp_path / "second").file_bytes()


@pytest.mark.parametrize("split", ["rows", "random"])
@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("block_bytes", [700, 1 << 24])
def test_against_a_slow_oracle(tmp_path, open_prepared, criteo_line, monkeypatch, split, min_count, block_bytes):
    rng = random.Random(0)
    values = ["", "x", "yy", "a value of many bytes", "a value of other bytes", "\u00e9\u00e8", "12345678", "123456789"]
    rows = [(rng.choice("01"), rng.choice(values), rng.choice(values[:3])) for _ in range(300)]
    raw, out = tmp_path / "train.txt", tmp_path / "out"
    raw.write_text("".join(criteo_line(label, C1=c1, C26=c26) + "\n" for label, c1, c26 in rows))
    monkeypatch.setattr(raw_files.RawFile.blocks, "__defaults__", (block_bytes, False))
    run(raw, out, "--split", split, "--min-count", str(min_count), "--fractions", "0.5", "0.3", "0.2")
    folder = open_prepared(out)
    if split == "rows":
        assert [folder.schema["splits"][name]["num_rows"] for name in ("train", "val", "test")] == [150, 90, 60]
    placed = ["train"] * 150 + ["val"] * 90 + ["test"] * 60
    if split == "random":
        placed = ["train" if draw < 0.5 else "val" if draw < 0.8 else "test" for draw in uniform(0, 0, 300).tolist()]
    for column, position in (("label", 0), ("C1", 1), ("C26", 2)):
        values = [(row[position], name) for row, name in zip(rows, placed, strict=True)]
        ids = {"0": 0, "1": 1} if column == "label" else slow_vocabulary(values, min_count)
        for split_name in ("train", "val", "test"):
            expected = [ids.get(value, 0) for value, name in values if name == split_name]
            assert folder.column(split_name, column) == expected
        if column != "label":
            assert folder.vocabulary(column) == ids
            counts = Counter(ids.get(value, 0) for value, name in values if name == "train")
            assert folder.counts(column) == {id_: counts[id_] for id_ in range(len(ids) + 1)}


def slow_vocabulary(values, min_count) -> dict[str, int]:
    counts = Counter(value for value, name in values if name == "train" and value)
    kept = [value for value in counts if counts[value] >= min_count]
    return {value: id_ for id_, value in enumerate(sorted(kept, key=lambda v: (-counts[v], v.encode())), start=1)}


def slow_hash(value, feature, bits) -> int:
    """SplitMix64 of a value of at most eight bytes, in Python's integers."""
    if not value:
        return 0
    word = int.from_bytes(value.encode(), "little")
    word ^= int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ word >> shift) * factor % 2**64
    return (word ^ word >> 31) % (2**bits - 1) + 1


def test_row_groups_and_files(tmp_path, criteo_line, open_prepared, monkeypatch):
    monkeypatch.setattr("recsys.prepare.clicks.parquet_output.GROUP_ROWS", 8)
    monkeypatch.setattr("recsys.prepare.clicks.parquet_output.FILE_ROWS", 16)
    raw = tmp_path / "train.txt"
    raw.write_text("".join(criteo_line(I1=str(row)) + "\n" for row in range(50)))
    run(raw, tmp_path / "out", "--fractions", "0.78", "0.22", "0")
    files = sorted((tmp_path / "out" / "train").iterdir())
    assert [path.name for path in files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    groups = [pq.ParquetFile(path).metadata for path in files]
    assert [[m.row_group(g).num_rows for g in range(m.num_row_groups)] for m in groups] == [[8, 8], [8, 8], [7]]
    values = open_prepared(tmp_path / "out").column("train", "I1") + open_prepared(tmp_path / "out").column("val", "I1")
    assert values == pytest.approx([math.log(row + 1) for row in range(50)], abs=1e-6)
    assert open_prepared(tmp_path / "out").column("test", "I1") == []
    assert open_prepared(tmp_path / "out").schema["splits"]["test"] == {"num_rows": 0, "label_rate": None}


def test_runs_as_a_script_from_the_root(criteo_raw, tmp_path):
    command = [sys.executable, "data_scripts/criteo.py", "--raw", str(criteo_raw), "--out", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "train.txt: 10 lines read, 10 kept, 0 bad lines skipped" in result.stdout
    assert json.loads((tmp_path / "out" / "schema.json").read_text())["splits"]["test"]["num_rows"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-count", "0"], "--min-count must be at least 1, got 0"),
        (["--hash-bits", "31"], r"--hash-bits must be in \[1, 30\], got 31"),
        (["--hash-bits", "8", "--min-count", "2"], "leave one out"),
        (["--fractions", "0.5", "0.5", "0.5"], "sum to 1"),
        (["--fractions", "0", "0.5", "0.5"], "train"),
    ],
)
def test_wrong_options(criteo_raw, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        run(criteo_raw, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_missing_raw_file(tmp_path):
    with pytest.raises(SystemExit, match=r"--raw: '.*nowhere.txt' does not exist"):
        run(tmp_path / "nowhere.txt", tmp_path / "out")


def test_real_rows(tmp_path, open_prepared, shared_data):
    """The first 80,000 real rows have the published 200,012 distinct categories."""
    rows = pq.read_table(shared_data / "criteo_kaggle_80k" / "train_hashed20.parquet").to_pandas()
    categories = [f"C{i}" for i in range(1, 27)]
    for name in categories:
        rows[name] = [f"{value:08x}" if value >= 0 else "" for value in rows[name].astype("int64")]
    for name in (f"I{i}" for i in range(1, 14)):
        rows[name] = rows[name].astype("Int64")
    rows.to_csv(tmp_path / "train.txt", sep="\t", header=False, index=False, na_rep="")
    run(tmp_path / "train.txt", tmp_path / "out")
    folder = open_prepared(tmp_path / "out")
    assert folder.schema["splits"]["train"]["num_rows"] == 64_000
    assert rows[categories].replace("", None).nunique().sum() == 200_012
    counts = rows["C3"][:64_000].replace("", None).value_counts()
    assert folder.feature("C3")["num_embeddings"] == 1 + len(counts)
    ids = folder.vocabulary("C3")
    assert folder.column("train", "C3") == [ids.get(value, 0) for value in rows["C3"][:64_000]]
    assert folder.column("test", "C3") == [ids.get(value, 0) for value in rows["C3"][72_000:]]


def test_the_days_of_a_longer_log_in_natural_order(tmp_path, criteo_lines, open_prepared):
    (tmp_path / "all.txt").write_text("\n".join(criteo_lines) + "\n")
    (tmp_path / "days").mkdir()
    for day, lines in {"day_2": criteo_lines[:3], "day_9": criteo_lines[3:4], "day_10": criteo_lines[4:]}.items():
        (tmp_path / "days" / day).write_text("\n".join(lines) + "\n")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(tmp_path / "all.txt", whole)
    run(tmp_path / "days", parts)
    for name in ("label", "C1", "I2"):
        for split in ("train", "val", "test"):
            assert open_prepared(parts).column(split, name) == open_prepared(whole).column(split, name)
    schema = open_prepared(parts).schema
    assert {name: counts["kept"] for name, counts in schema["source"]["lines"].items()} == {
        **{"day_2": 3, "day_9": 1, "day_10": 6},
    }
