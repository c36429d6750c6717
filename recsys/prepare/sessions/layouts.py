"""How publishers write their logs: separators, columns and times of files that are read as they come."""

from __future__ import annotations

from dataclasses import dataclass, field

from recsys.prepare.files.text_table import TextFormat
from recsys.prepare.sessions.log import ItemColumn


@dataclass(frozen=True)
class LogLayout:
    """One publisher's way; see LogColumns for the meaning of each.

    Attributes:
        typed_header: Names of columns end in their types, as in user_id:token.
    """

    user: str
    item: str
    time: str | None
    time_unit: str = "s"
    time_format: str | None = None
    time_beside: str | None = None
    item_columns: tuple[ItemColumn, ...] = ()
    format: TextFormat = field(default_factory=TextFormat)
    typed_header: bool = False


LAYOUTS = {
    "movielens-100k": LogLayout(*("user", "item", "time"), format=TextFormat("\t", ("user", "item", "rating", "time"))),
    "movielens-1m": LogLayout(*("user", "item", "time"), format=TextFormat("::", ("user", "item", "rating", "time"))),
    "movielens-csv": LogLayout("userId", "movieId", "timestamp"),
    "yoochoose": LogLayout(
        *("session", "item", "time"), format=TextFormat(",", ("session", "time", "item", "category"))
    ),
    "recbole": LogLayout("user_id", "item_id", "timestamp", format=TextFormat("\t"), typed_header=True),
    "amazon-2018": LogLayout("reviewerID", "asin", "unixReviewTime"),
    "amazon-2023": LogLayout("user_id", "parent_asin", "timestamp", time_unit="ms"),
    "foursquare": LogLayout(
        *("user", "venue", "time"),
        time_format="%a %b %d %H:%M:%S %z %Y",
        item_columns=(
            ItemColumn("category", "categorical"),
            *(ItemColumn(n, "dense") for n in ("latitude", "longitude")),
        ),
        format=TextFormat(
            "\t",
            ("user", "venue", "category_id", "category", "latitude", "longitude", "offset", "time"),
            encoding="latin-1",
        ),
    ),
    "gowalla": LogLayout(
        *("user", "place", "time"), format=TextFormat("\t", ("user", "time", "latitude", "longitude", "place"))
    ),
    "diginetica": LogLayout("sessionId", "itemId", "eventdate", time_beside="timeframe", format=TextFormat(";")),
    "rees46": LogLayout(
        *("user_session", "product_id", "event_time"),
        item_columns=(
            *(ItemColumn(name, "categorical") for name in ("category_id", "brand")),
            ItemColumn("price", "bins"),
        ),
        format=TextFormat(","),
    ),
}
