"""Times of events: their order to the microsecond, whatever a log writes them as."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys.prepare.files.event_times import FIRST_YEAR, LAST_YEAR, MICROSECONDS, microseconds
from recsys.prepare.programs import sessions

START = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
MILLISECONDS = [900, 100, 500]


def prepare(tmp_path, frame: pl.DataFrame, *options: str):
    path = tmp_path / "log.parquet"
    if frame["t"].dtype == pl.String:
        path = tmp_path / "log.csv"
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    columns = ["--user", "u", "--item", "i", "--time", "t"]
    sessions.main(["--raw", str(path), "--out", str(tmp_path / "out"), "--overwrite", *columns, *options])
    return tmp_path / "out"


def log(times: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"u": ["A"] * 3, "i": ["x1", "x2", "x3"], "t": times})


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([str(1_700_000_000_000 + ms) for ms in MILLISECONDS], "ms"),
        ([1_700_000_000_000 + ms for ms in MILLISECONDS], "ms"),
        ([str(1_700_000_000_000_000 + ms) for ms in MILLISECONDS], "us"),
        ([f"1700000000.{ms}" for ms in MILLISECONDS], "s"),
        ([1_700_000_000 + ms / 1000 for ms in MILLISECONDS], "s"),
        ([f"2023-11-14T22:13:20.{ms}" for ms in MILLISECONDS], "s"),
        ([START + timedelta(milliseconds=ms) for ms in MILLISECONDS], "s"),
    ],
)
def test_events_of_one_second_are_in_order(tmp_path, times, unit):
    folder = prepare(tmp_path, log(times), "--time-unit", unit)
    names = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    row = pq.read_table(folder / "test").to_pylist()[0]
    assert [names[item - 1] for item in [*row["items"], row["target"]]] == ["x2", "x3", "x1"]
    assert row["times"] == [1_700_000_000, 1_700_000_000]


def test_a_gap_is_cut_to_the_microsecond(tmp_path):
    times = pl.Series([0, 60_000_000, 120_000_001])
    rows = pl.concat([log(times), log(times + 1).with_columns(u=pl.lit("B"))] * 2)
    with pytest.raises(SystemExit, match="leaves no row in val"):
        prepare(tmp_path, log(times), "--time-unit", "us", "--gap-minutes", "1")
    folder = prepare(tmp_path, rows, "--time-unit", "us", "--gap-minutes", "1")
    assert [len(row) for row in pq.read_table(folder / "train")["items"].to_pylist()] == [2, 2, 2, 2]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(-(2**53), 2**53), min_size=1), st.sampled_from(list(MICROSECONDS)))
def test_whole_numbers_are_exact_or_no_time(numbers, unit):
    last = int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    exact = [min(number * MICROSECONDS[unit], last * 1_000_000) for number in numbers]
    numbers = [tick // MICROSECONDS[unit] for tick in exact]
    exact = [number * MICROSECONDS[unit] for number in numbers]
    first = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    expected = [tick if tick >= first else None for tick in exact]
    assume(not all(str(number)[:2] in ("19", "20") and len(str(number)) == 8 for number in numbers))
    assert microseconds(pl.Series(numbers), unit, "it").to_list() == expected
    assert microseconds(pl.Series([str(number) for number in numbers]), unit, "it").to_list() == expected


@settings(deadline=None, max_examples=80)
@given(st.lists(st.decimals(0, 10**9, places=6), min_size=1))
def test_decimal_seconds_are_exact_to_the_microsecond(numbers):
    expected = [int(Fraction(number) * 1_000_000) for number in numbers]
    assert microseconds(pl.Series([f"{number:f}" for number in numbers]), "s", "it").to_list() == expected


@pytest.mark.parametrize("policy", ["fail", "skip"])
def test_numbers_beside_iso_texts(tmp_path, policy):
    frame = log(["2023-11-14", "1700000000", "2023-11-15"])
    message = (
        r"--time: column 't' of '.*log\.csv' has numbers \('1700000000'\) and ISO texts "
        r"\('2023-11-14'\); write all times one way\."
    )
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path, frame, "--on-bad-line", policy)


def test_a_column_that_holds_no_times(tmp_path):
    message = r"--time: column 't' of '.*' is of type Boolean; give numbers, dates or texts of them"
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path, log([True, False, True]))


def test_a_number_too_large_for_its_unit(tmp_path):
    with pytest.raises(
        SystemExit, match="line 2: column 't' holds '1700000000900000000', not a time, or too large for"
    ):
        prepare(tmp_path, log([1, 1_700_000_000_900_000_000, 2]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14", datetime(2023, 11, 14, tzinfo=UTC)),
        ("2023-11-14 22:13", datetime(2023, 11, 14, 22, 13, tzinfo=UTC)),
        ("2023-11-14T22:13:20.5Z", datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)),
        ("2023-11-14 22:13:20.123456789+05:30", datetime(2023, 11, 14, 16, 43, 20, 123_456, tzinfo=UTC)),
        ("2023-11-14T22:13:20-0130", datetime(2023, 11, 14, 23, 43, 20, tzinfo=UTC)),
        ("2019-10-01 00:00:00 UTC", datetime(2019, 10, 1, tzinfo=UTC)),
        ("09/05/2020", None),
        ("2020-13-01", None),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01", None),
        ("1899-12-30", None),
        ("9999-12-31", None),
        ("2020-02-30", None),
        ("5 May 2020", None),
        ("2024-02-29T10:00:00+99:00", None),  # no zone is that far ahead
        ("2024-02-29T10:00:00+05:75", None),
        ("2024-02-29T10:00:00-15:00", None),
    ],
)
def test_iso_is_read_and_nothing_is_guessed(text, expected):
    ticks = None if expected is None else int(expected.timestamp() * 1_000_000)
    assert microseconds(pl.Series([text]), "s", "it").to_list() == [ticks]


def test_a_format_that_is_named():
    first = int(datetime(2020, 5, 9, tzinfo=UTC).timestamp()) * 1_000_000
    for values, format in (
        (["09/05/2020"], "%d/%m/%Y"),
        ([20200509], "%Y%m%d"),
        (["09.05.2020 00:00"], "%d.%m.%Y %H:%M"),
    ):
        assert microseconds(pl.Series(values), "s", "it", format).to_list() == [first]
    assert microseconds(pl.Series(["2020-05-09"]), "s", "it", "%d/%m/%Y").to_list() == [None]


@pytest.mark.parametrize("values", [[20200905, 20201231], ["20200905"]])
def test_dates_without_separators_are_no_seconds(values):
    with pytest.raises(ValueError, match=r"holds '20200905', which looks like a date; give --time-format %Y%m%d"):
        microseconds(pl.Series(values), "s", "it")


@pytest.mark.parametrize(("unit", "given"), [("ms", 1_700_000_000_000), ("us", 1_700_000_000_000_000)])
def test_times_of_another_unit_are_refused(unit, given):
    with pytest.raises(
        ValueError, match=rf"the latest time is in the year [\d,]+ in the unit s; give --time-unit {unit}"
    ):
        microseconds(pl.Series([given]), "s", "it")


@pytest.mark.parametrize("kind", [pl.Datetime("us"), pl.Datetime("ms"), pl.Date])
def test_a_date_that_stands_for_a_missing_one_is_no_time(tmp_path, kind):
    days = [datetime(2020, 5, 8), datetime(2020, 5, 9)]
    for far in (datetime(1, 1, 1), datetime(9999, 12, 31)):
        times = pl.Series([*days, far]).cast(kind)
        assert microseconds(times, "s", "it").is_null().to_list() == [False, False, True]
    with pytest.raises(SystemExit, match=r"line 3: column 't' holds '9999-12-31.*', not a time, .* of 1900 to 2200"):
        prepare(tmp_path, log(times))
