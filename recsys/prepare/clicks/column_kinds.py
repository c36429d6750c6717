"""What the columns of a log probably are, from a sample of its rows, each with the reason in few words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from recsys.prepare.clicks.click_spec import OF_PREDICTIONS, ClickSpec, ColumnRule
from recsys.prepare.files.column_values import is_plain, numbers_of
from recsys.prepare.files.event_times import microseconds

SAMPLE_ROWS = 200_000
LABELS = r"(is_?)?(click(ed|s)?|label|target|y|conver(ted|sion)|purchase[d]?|bought|install(ed)?|response|outcome)"
RATINGS = r"(rating|stars?)s?"
USERS = r"(user|customer|visitor|member|client|uid|session)(_?(id|no))?"
TIMES = r"(event_?)?(time(stamp)?|date(time)?|ts|at|created(_at)?)"
KEYS = r"(row|line|record|impression|event|request)?_?(id|no|number|key)|index|unnamed.*"
NAMES_OF_VALUES = r"(.*_)?(id|ids|code|zip|type|category|cat|class|brand|hash|key|no|weekday|hour|month|day)|c\d+"
NAMES_OF_NUMBERS = (
    r"(.*_)?(price|amount|count|num|number|qty|quantity|age|length|duration|size|score|rate|ratio|avg|sum|total"
    r"|distance|lat|lon|i\d+)"
)
ROW_NUMBERS = r"__index_level_\d+__|unnamed: \d+"
"""What pandas calls an index without a name, in Parquet and where a CSV of it is read again."""
DECIMAL_COMMA = r"[+-]?\d+(,\d+)?"
DAY = r"((19|20)\d\d[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](19|20)\d\d)([ T].*)?"
MOST_CODES = 50
LIST_SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class Column:
    """A column of the sample, with what the guesses below need to know."""

    values: pl.Series

    @property
    def name(self) -> str:
        """Of the column."""
        return self.values.name

    def is_called(self, pattern: str) -> bool:
        """Whether its whole name is as the pattern says, in any case."""
        return re.fullmatch(pattern, self.name.strip(), re.IGNORECASE) is not None

    @property
    def known(self) -> pl.Series:
        """Values that are not missing."""
        return self.values.drop_nulls()

    @property
    def numbers(self) -> pl.Series | None:
        """Values as numbers; None where one is none, or all are missing."""
        try:
            found, bad = numbers_of(self.values, self.name)
        except ValueError:
            return None
        return None if bad.any() or not found.count() else found.drop_nulls()

    @property
    def is_list(self) -> bool:
        """Whether its cells are lists."""
        return isinstance(self.values.dtype, pl.List | pl.Array)

    @property
    def num_distinct(self) -> int:
        """Different values."""
        return self.known.n_unique() if not self.is_list else len(self.known)

    @property
    def is_binary(self) -> bool:
        """Whether its values are 0 and 1, both of them, on every row."""
        texts = set(self.known.cast(pl.String).str.to_lowercase().unique()) if not self.is_list else set()
        same = {"0.0": "0", "1.0": "1", "false": "0", "true": "1"}
        return self.known.len() == len(self.values) and {same.get(text, text) for text in texts} == {"0", "1"}

    @property
    def is_time(self) -> bool:
        """Whether its values are times that can be split by."""
        numbers = self.numbers
        if numbers is not None and self.values.dtype != pl.Date and float(str(numbers.max() or 0)) < 1e8:
            return False
        try:
            return any(microseconds(self.known, unit, self.name).null_count() == 0 for unit in self.units)
        except ValueError:
            return False

    @property
    def units(self) -> tuple[str, ...]:
        """The unit that numbers of times are probably of."""
        numbers = self.numbers
        latest = 0.0 if numbers is None else float(str(numbers.max() or 0))
        return ("us",) if latest > 1e14 else ("ms",) if latest > 1e11 else ("s",)


def infer_spec(sample: pl.DataFrame, said: Mapping[str, str | None], by_time: bool = True) -> ClickSpec:
    """Decide what every column is.

    Args:
        sample: First rows of the log.
        said: Special columns that the user has named: label, weight, group, time, split_column.
        by_time: Whether rows are split by time, where there are times.

    Raises:
        ValueError: No column, or more than one, may be the label.
    """
    columns = [Column(sample[name]) for name in sample.columns]
    reasons = {name: f"{role}: as you say" for role, name in said.items() if name}
    left = [column for column in columns if column.name not in reasons or column.name == said["group"]]
    label, positive_from = said["label"], None
    if label is None:
        label, positive_from = _label(left, reasons)
    left = [column for column in left if column.name != label]
    why = "times: rows are split by it" if by_time else "times: left out, as rows are not split by it"
    time = said["time"] or _first(left, lambda column: column.is_called(TIMES) and column.is_time, reasons, why)
    unit = Column(sample[time]).units[0] if time else "s"
    group = said["group"] or _first(left, _is_user, {}, "")
    rules, keys = [], []
    for column in left:
        if column.name == time:
            continue
        if _is_key(column):
            keys.append(column.name)
            reasons[column.name] = "key: as many values as rows; kept for predictions"
            continue
        rule, reasons[column.name] = _rule(column)
        if rule is not None:
            rules.append(rule)
        if column.name == group:
            reasons[column.name] += "; val/gauc is over it"
    return ClickSpec(
        tuple(rules),
        label=label,
        positive_from=positive_from,
        weight=said["weight"],
        group=group,
        time=time,
        time_unit=unit,
        split_column=said["split_column"],
        keys=tuple(key for key in keys if key not in OF_PREDICTIONS),
        reasons=reasons,
    )


def _label(columns: list[Column], reasons: dict[str, str]) -> tuple[str, float | None]:
    binary = [column for column in columns if column.is_binary]
    named = [column for column in binary if column.is_called(LABELS)]
    chosen = named or binary
    if len(chosen) == 1:
        reasons[chosen[0].name] = "label: 0 and 1, and its name" if named else "label: the only column of 0 and 1"
        return chosen[0].name, None
    rated = [column for column in columns if column.is_called(RATINGS) and column.numbers is not None]
    if not chosen and len(rated) == 1:
        numbers = rated[0].numbers
        assert numbers is not None
        bound = 4.0 if float(str(numbers.max())) <= 5 else float(str(numbers.quantile(0.5, "higher")))
        reasons[rated[0].name] = f"label: 1 from {bound:g} on, else 0"
        return rated[0].name, bound
    names = ", ".join(column.name for column in chosen)
    problem = f"several columns hold 0 and 1 ({names})" if chosen else "no column holds 0 and 1 alone"
    raise ValueError(
        f"{problem}; say which is the label with --label (see --positive and --positive-from too)"
        f"{_of_two_texts(columns)}; a log that has clicks alone is for recsys prepare sessions."
    )


def _of_two_texts(columns: list[Column]) -> str:
    """What would make a label of the first column of two texts with the name of one; empty if there is none."""
    for column in columns:
        if column.is_called(LABELS) and not column.is_list and column.num_distinct == 2:
            texts = column.known.cast(pl.String).unique().sort().to_list()
            return f", such as --label {column.name} --positive {shlex.quote(texts[1])}"
    return ""


def _first(columns: list[Column], suits: Callable[[Column], bool], reasons: dict[str, str], reason: str) -> str | None:
    for column in columns:
        if suits(column):
            reasons[column.name] = reason
            return column.name
    return None


def _is_user(column: Column) -> bool:
    return column.is_called(USERS) and not column.is_list and 1 < column.num_distinct <= len(column.values) / 2


def _is_key(column: Column) -> bool:
    distinct = not column.is_list and column.num_distinct == len(column.values) and len(column.values) > 1
    return distinct and column.is_called(KEYS)


def _rule(column: Column) -> tuple[ColumnRule | None, str]:
    """What a column is, and why; None leaves it out."""
    name, num_rows, distinct = column.name, len(column.values), column.num_distinct
    if column.is_called(ROW_NUMBERS):
        return None, "left out: its name is that of row numbers of pandas"
    if column.is_list:
        return ColumnRule(name, "lists"), "lists: cells are lists"
    if not is_plain(column.values.dtype):
        return None, f"left out: of type {column.values.dtype}"
    if distinct < 2:
        return None, "left out: one value only"
    numbers = column.numbers
    if numbers is None:
        return _of_texts(column)
    whole = bool((numbers == numbers.round()).all())
    if column.is_called(NAMES_OF_VALUES) and whole:
        return ColumnRule(name, "categorical"), f"categorical: its name, {distinct:,} values"
    if whole and distinct <= MOST_CODES and not column.is_called(NAMES_OF_NUMBERS):
        return ColumnRule(name, "categorical"), f"categorical: {distinct:,} whole numbers"
    if (
        whole
        and not column.is_called(NAMES_OF_NUMBERS)
        and num_rows / distinct >= 5
        and column.is_called(f"{USERS}|item.*")
    ):
        return ColumnRule(name, "categorical"), f"categorical: its name, {distinct:,} values"
    if (
        whole
        and not column.is_called(NAMES_OF_NUMBERS)
        and column.values.dtype == pl.String
        and _has_leading_zero(column)
    ):
        return ColumnRule(name, "categorical"), "categorical: numbers with leading zeros"
    middle, largest = float(str(numbers.quantile(0.5))), float(str(numbers.max()))
    if float(str(numbers.min())) >= 0 and largest > 20 * max(middle, 1e-9) and largest > 1:
        return ColumnRule(name, "dense", "log"), "dense, log: numbers with a long tail"
    return ColumnRule(name, "dense", "standardise"), "dense: numbers"


def _are_all(texts: pl.Series, pattern: str) -> bool:
    return bool(texts.str.contains(f"^(?:{pattern})$").all())


def _has_leading_zero(column: Column) -> bool:
    return bool(column.known.cast(pl.String).str.contains(r"^0\d").any())


def _of_texts(column: Column) -> tuple[ColumnRule | None, str]:
    name, num_rows, distinct = column.name, len(column.values), column.num_distinct
    if column.is_time:
        return None, "left out: another column of times"
    texts = column.known.cast(pl.String)
    if _are_all(texts, DECIMAL_COMMA):
        return None, f"left out: may be decimal commas, like {texts[0]}: write points, or --lists {name}:,"
    if _are_all(texts, DAY):
        return None, f"left out: may be dates, like {str(texts[0])[:10]}: say --time {name} --time-format"
    for separator in LIST_SEPARATORS:
        divided = texts.str.contains(separator, literal=True)
        if divided.sum() > 0.2 * len(divided):
            pieces = texts.str.split(separator).explode()
            if pieces.n_unique() < distinct or (separator != "," and pieces.n_unique() <= MOST_CODES):
                shown = f"lists: texts like {str(texts.filter(divided)[0])[:20]}"
                return ColumnRule(name, "lists", separator=separator), shown
    lengthy = texts.str.len_chars().sum() > 40 * len(texts)
    if distinct > 0.9 * num_rows and num_rows > 100:
        return None, "left out: nearly every value is another"
    if lengthy and distinct > 0.5 * num_rows:
        return None, "left out: long texts"
    return ColumnRule(name, "categorical"), f"categorical: {distinct:,} texts"
