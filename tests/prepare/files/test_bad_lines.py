"""Damaged raw files: the line number and the reason, and nothing lost silently."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.prepare.clicks.criteo_rows import LAYOUT
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawBlock
from recsys.prepare.files.raw_frames import Layout, read_frame
from recsys.prepare.programs import criteo

GOOD = "\t".join(["1", *["5"] * 13, *["0000000a"] * 26])


def run(raw: Path, out: Path, *options: str) -> None:
    criteo.main(["--raw", str(raw), "--out", str(out), *options])


def with_field(place: int, text: bytes) -> bytes:
    fields = GOOD.encode().split(b"\t")
    fields[place] = text
    return b"\t".join(fields)


CORRUPTIONS = {
    "short": (GOOD.rsplit("\t", 1)[0].encode(), "expected 40 columns"),
    "long": ((GOOD + "\tx").encode(), "found 41"),
    "empty": (b"", "the line is empty"),
    "text in I3": (with_field(3, b"abc"), "column 'I3' holds 'abc', not a whole number"),
    "fraction in I13": (with_field(13, b"1.5"), "column 'I13' holds '1.5', not a whole number"),
    "huge number": (with_field(1, b"9" * 25), "not a whole number"),
    "label 2": (with_field(0, b"2"), "column 'label' holds '2', not 0 or 1"),
    "no label": (with_field(0, b""), "column 'label' holds '', not 0 or 1"),
    "bad byte": (with_field(20, b"\xff\xfe"), "byte 0xff at byte 83 of the line is not valid utf-8"),
    "zero byte": (with_field(39, b"a\0"), "byte 0x00"),
    "cut in the middle": (GOOD[: len(GOOD) // 2].encode(), "expected 40 columns"),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_lines=st.integers(2, 12),
    place=st.integers(0, 11),
    corruption=st.sampled_from(sorted(CORRUPTIONS)),
    packed=st.booleans(),
)
def test_one_bad_line_is_named_and_the_others_are_kept(
    tmp_path_factory, open_prepared, num_lines, place, corruption, packed
):
    bad, reason = CORRUPTIONS[corruption]
    folder = tmp_path_factory.mktemp("bad")
    lines = [with_field(1, str(2**number - 1).encode()) for number in range(num_lines)]
    lines[place % num_lines] = bad
    data = b"\n".join(lines) + b"\n"
    raw = folder / "train.txt"
    raw.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(SystemExit) as failure:
        run(raw, folder / "out")
    assert f"train.txt, line {place % num_lines + 1}: " in str(failure.value)
    assert reason in str(failure.value)
    assert not (folder / "out").exists()
    run(raw, folder / "out", "--on-bad-line", "skip", "--fractions", "1", "0", "0", "--bin-integers")
    prepared = open_prepared(folder / "out")
    words = {id_: word for word, id_ in prepared.vocabulary("I1_bin").items()}
    kept = [str(number) for number in range(num_lines) if number != place % num_lines]
    assert [words[id_] for id_ in prepared.column("train", "I1_bin")] == kept
    counts = {"read": num_lines, "kept": num_lines - 1, "skipped": 1, "dropped": {}}
    assert prepared.schema["source"]["lines"]["train.txt"] == counts
    listed = (folder / "out" / "bad_lines.tsv").read_text().splitlines()
    assert len(listed) == 2
    assert listed[1].startswith(f"train.txt\t{place % num_lines + 1}\t")
    assert reason in listed[1]


def test_a_short_and_a_long_line_do_not_hide_each_other():
    short, long = CORRUPTIONS["short"][0], CORRUPTIONS["long"][0]
    data = b"".join(line + b"\n" for line in (GOOD.encode(), short, GOOD.encode(), long))
    rows, bad = read_frame(RawBlock("train.txt", 101, data, 4), LAYOUT)
    assert rows.lines.tolist() == [101, 103]
    assert [line.line for line in bad] == [102, 104]


FIELD = st.one_of(
    st.from_regex(r"\A {0,2}[+-]?[0-9]{0,21}\Z"),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r\t\0"), max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(FIELD, FIELD)
def test_the_fast_and_the_exact_way_agree(number, text):
    layout = Layout(b"\t", ("number", "text"), frozenset({"number"}))
    line = f"{number}\t{text}\n".encode()
    alone, bad = read_frame(RawBlock("file", 1, line, 1), layout)
    beside, bad_beside = read_frame(RawBlock("file", 1, line + b"\n", 2), layout)
    assert alone.frame.equals(beside.frame)
    assert bad == bad_beside[: len(bad)]
    assert bad_beside[-1].reason == "the line is empty"


@settings(max_examples=300, deadline=None)
@given(FIELD)
def test_whole_numbers_are_what_python_takes_for_one(number):
    layout = Layout(b"\t", ("number", "text"), frozenset({"number"}))
    rows, bad = read_frame(RawBlock("file", 1, f"{number}\tx\n".encode(), 1), layout)
    digits = number.lstrip(" ")
    if digits == "":
        assert rows.frame["number"].to_list() == [None]
    elif digits.lstrip("+-").isascii() and digits[digits[0] in "+-" :].isdigit() and -(2**63) <= int(digits) < 2**63:
        assert rows.frame["number"].to_list() == [int(digits)]
    else:
        assert [line.line for line in bad] == [1]


def test_empty_file(tmp_path):
    for name, data in (("plain", b""), ("packed", gzip.compress(b""))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SystemExit, match=f"{name}, line 1: the file is empty"):
            run(tmp_path / name, tmp_path / "out", "--on-bad-line", "skip")


def test_no_usable_line(tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\n")
    with pytest.raises(SystemExit, match="no usable line") as failure:
        run(tmp_path / "train.txt", tmp_path / "out", "--on-bad-line", "skip")
    assert "2 bad lines skipped" in str(failure.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize("damage", ["cut", "checksum", "zstd"])
def test_a_damaged_stream_is_no_bad_line(tmp_path, damage, policy):
    lines = [with_field(20, f"{number * 2654435761 % 2**32:08x}".encode()) for number in range(2000)]
    data = b"\n".join(lines) + b"\n"
    if damage == "zstd":
        packed = pa.compress(data, "zstd", asbytes=True)
        (tmp_path / "train.txt.gz").write_bytes(packed[: len(packed) // 2])
    else:
        packed = gzip.compress(data)
        cut = packed[: len(packed) // 2] if damage == "cut" else packed[:-8] + b"\1\2\3\4" + packed[-4:]
        (tmp_path / "train.txt.gz").write_bytes(cut)
    with pytest.raises(SystemExit, match=r"train\.txt\.gz, line \d+ or later: the \w+ stream (ends early|is damaged)"):
        run(tmp_path / "train.txt.gz", tmp_path / "out", "--on-bad-line", policy)
    assert [path.name for path in tmp_path.iterdir()] == ["train.txt.gz"]


def test_utf16_is_named_and_a_mark_of_utf8_is_none_of_the_text(tmp_path, open_prepared):
    (tmp_path / "wide.txt").write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(SystemExit, match=r"wide\.txt is UTF-16, not UTF-8, or no text; convert it with: iconv"):
        run(tmp_path / "wide.txt", tmp_path / "out")
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\n")
    run(tmp_path / "marked.txt", tmp_path / "out", "--fractions", "1", "0", "0")
    assert open_prepared(tmp_path / "out").column("train", "label") == [1]


def test_not_a_text_file(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys.prepare.files.raw_files.MAX_LINE_BYTES", 1000)
    (tmp_path / "train.txt").write_bytes(GOOD.encode() + b"\n" + b"x" * 5000)
    with pytest.raises(SystemExit, match=r"train\.txt, line 2: over 1000 bytes without a newline"):
        run(tmp_path / "train.txt", tmp_path / "out")


def test_unknown_policy(tmp_path):
    with pytest.raises(ValueError, match="on_bad_line must be one of"):
        LineReport("ignore", tmp_path / "bad_lines.tsv")
