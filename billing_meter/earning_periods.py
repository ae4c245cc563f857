"""Days, weeks and months of earnings (pure). All in UTC; a week begins on Monday."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, Literal, get_args

Period = Literal["day", "week", "month"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
DAY_MS: Final = 24 * 60 * 60 * 1_000
DAYS_MAX: Final = 400
"""The longest span that is looked at in one go: a year with its neighbours."""
_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH: Final = dt.date(1970, 1, 1)
_LATEST: Final = dt.date(9999, 1, 1)
_SHOWN: Final[dict[Period, int]] = {"day": 30, "week": 12 * 7, "month": 365}
"""How many days back a page goes when nobody says."""


def start_of(period: Period, day: dt.date) -> dt.date:
    """The first day of the period that has this day."""
    match period:
        case "day":
            return day
        case "week":
            return day - dt.timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def last_of(period: Period, start: dt.date) -> dt.date:
    """The last day of the period that begins here."""
    match period:
        case "day":
            return start
        case "week":
            return start + dt.timedelta(days=6)
        case "month":
            return (start + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)


def day_of(at_ms: int) -> dt.date:
    """The day of an instant."""
    return _EPOCH + dt.timedelta(days=at_ms // DAY_MS)


def start_ms(day: dt.date) -> int:
    """The instant at which a day begins."""
    return (day - _EPOCH).days * DAY_MS


def chosen(first: str, last: str, period: Period, today: dt.date) -> tuple[dt.date, dt.date]:
    """The days [first, last] as typed (`YYYY-MM-DD`), widened to whole periods.

    Empty texts stand for today and as far back as a page shows. ValueError for texts that are no
    days, or a span that is backwards or longer than `DAYS_MAX`.
    """
    end = _day(last) if last else today
    begin = _day(first) if first else max(_EPOCH, end - dt.timedelta(days=_SHOWN[period] - 1))
    if begin > end:
        raise ValueError("the first day is after the last")
    if (end - begin).days >= DAYS_MAX:
        raise ValueError(f"at most {DAYS_MAX} days")
    return start_of(period, begin), last_of(period, start_of(period, end))


def _day(text: str) -> dt.date:
    if _FORM.fullmatch(text) is None:
        raise ValueError("a day is YYYY-MM-DD")
    day = dt.date.fromisoformat(text)
    if not _EPOCH <= day < _LATEST:
        raise ValueError("a day is between 1970 and 9999")
    return day
