"""Fuzzes what people type about money: IBANs, and the days of a report.

Whatever is typed is refused with ValueError, or comes out the same when its own form is read.
"""

import datetime as dt

from billing_meter import earning_periods
from billing_meter.earning_periods import PERIODS
from billing_meter.iban import IBAN_CHARS_MAX, iban, masked

TODAY = dt.date(2026, 1, 15)


def seeds() -> list[bytes]:
    return [
        b"NO93 8601 1117 947",
        b"gb82 west 1234 5698 7654 32",
        b"MT84MALT011000012345MTLCAST001S",
        b"2026-01-05\n2026-02-05",
        b"\n2024-02-29",
        "٢٠٢٦-٠١-٠١\n2026-W01-1".encode(),
    ]


def check(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        read = iban(text)
    except ValueError:
        pass
    else:
        assert 15 <= len(read) <= IBAN_CHARS_MAX
        assert iban(read) == iban(read.lower()) == read
        assert read[2:-4] not in masked(read)
    first, _, last = text.partition("\n")
    for period in PERIODS:
        try:
            begin, end = earning_periods.chosen(first, last, period, TODAY)
        except ValueError:
            continue
        assert begin == earning_periods.start_of(period, begin) <= end
        assert (end - begin).days < earning_periods.DAYS_MAX + 62
        again = earning_periods.chosen(begin.isoformat(), end.isoformat(), "day", TODAY)
        assert again == (begin, end) or (end - begin).days >= earning_periods.DAYS_MAX
