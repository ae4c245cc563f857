"""Rows as CSV (RFC 4180), safe to be opened by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | int | None
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a text for a formula, and runs it."""


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    """Lines ended by CRLF; texts that look like formulas get an apostrophe, numbers stay."""
    made = io.StringIO()
    csv.writer(made).writerows([_safe(cell) for cell in row] for row in rows)
    return made.getvalue()


def _safe(cell: Cell) -> Cell:
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not _number(cell):
        return f"'{cell}"
    return cell


def _number(text: str) -> bool:
    sign, digits = text[0], text[1:]
    return sign == "-" and digits.isascii() and digits.replace(".", "", 1).isdigit()
