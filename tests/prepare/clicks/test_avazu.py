"""Avazu, on files made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.prepare.clicks.avazu_rows import LAYOUT
from recsys.prepare.programs import avazu

HEADER = ",".join(LAYOUT.columns)


def line(day: int, hour: int = 0, click: str = "0", device_ip: str = "ddd2926e", time: str | None = None) -> str:
    values = dict.fromkeys(LAYOUT.columns, "1") | {"id": "1000009418151094273", "C20": "-1", "device_ip": device_ip}
    values |= {"click": click, "hour": time if time is not None else f"1410{day:02}{hour:02}"}
    return ",".join(values[name] for name in LAYOUT.columns)


def write(folder: Path, lines: list[str]) -> Path:
    (folder / "train").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder / "train"


def run(raw: Path, *options: str) -> Path:
    out = raw.parent / "out"
    avazu.main(["--raw", str(raw), "--out", str(out), *options])
    return out


def test_ten_days(tmp_path, open_prepared, capsys):
    folder = open_prepared(run(write(tmp_path, [line(day, day % 24, str(day % 2)) for day in range(21, 31)])))
    assert "train: 11 lines read, 10 kept, 1 dropped (header), 0 bad lines skipped" in capsys.readouterr().out
    assert [folder.schema["splits"][split]["num_rows"] for split in ("train", "val", "test")] == [8, 1, 1]
    assert folder.schema["split"]["by"] == "day"
    names = [entry["name"] for entry in folder.schema["features"]]
    assert "id" not in names
    assert names[:3] == ["hour", "weekday", "weekend"]
    assert len(names) == 24


def test_derived_times(tmp_path, open_prepared):
    """21 October 2014 was a Tuesday; the 25th and the 26th were a weekend."""
    lines = [line(21, 0), line(25, 23), line(26, 9), line(27, 9)]
    folder = open_prepared(run(write(tmp_path, lines), "--split", "rows", "--fractions", "1", "0", "0"))
    for name, expected in (("hour", "0 23 9 9"), ("weekday", "1 5 6 0"), ("weekend", "0 1 1 0")):
        words = {id_: word for word, id_ in folder.vocabulary(name).items()}
        assert [words[id_] for id_ in folder.column("train", name)] == expected.split()
    assert folder.vocabulary("C20") == {"-1": 1}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(21, click="x"), "line 3: column 'click' holds 'x', not a whole number"),
        (line(21, click=""), "line 3: column 'click' holds '', not 0 or 1"),
        (line(21, time="14139900"), "line 3: column 'hour' holds '14139900', not a time written YYMMDDHH"),
        (line(21, time="1410210"), "line 3: column 'hour' holds '1410210'"),
        (line(21, time=""), "line 3: column 'hour' holds ''"),
        (line(21) + ",1", "line 3: expected 24 columns separated by ',', found 25"),
    ],
)
def test_bad_lines(tmp_path, open_prepared, bad, message):
    raw = write(tmp_path, [line(21, device_ip="a"), bad, line(21, device_ip="b")])
    options = ["--split", "rows", "--fractions", "1", "0", "0"]
    with pytest.raises(SystemExit, match=message):
        run(raw, *options)
    folder = open_prepared(run(raw, *options, "--on-bad-line", "skip"))
    assert folder.vocabulary("device_ip") == {"a": 1, "b": 2}
    counts = {"read": 4, "kept": 2, "skipped": 1, "dropped": {"header": 1}}
    assert folder.schema["source"]["lines"]["train"] == counts


def test_no_header(tmp_path):
    (tmp_path / "train").write_text(line(21) + "\n")
    with pytest.raises(SystemExit, match="train, line 1: expected the header 'id,click,hour"):
        run(tmp_path / "train")


def test_one_day_cannot_be_split_by_day(tmp_path):
    with pytest.raises(SystemExit, match="use --split random"):
        run(write(tmp_path, [line(21)] * 10))
