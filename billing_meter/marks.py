"""Marks of open sessions (pure): what each has used, many of them in one compact record.

A tick makes the seconds of all sessions durable. A row each would be ten thousand rows a second;
so the sessions of a process lie on pages, a page's marks are one record, and a tick writes the
pages that changed. A session's own row is brought up to date whenever its money moves. Its durable
state is the later of the two: figures only ever grow, and each is true.

A record is a version, the CRC-32 of the rest, and a msgpack array of one array for each session.
What cannot be read counts as not there: a member is then charged up to the row, never beyond.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgpack

PAGE_SESSIONS = 32
"""A record of so many stays below 2 KiB, which PostgreSQL keeps in the row itself."""
RECORD_BYTES_MAX = 16_384
"""Several pages' worth: nothing longer was written by us."""
VERSION = 1
_HEAD_BYTES = 5
_ID_CHARS_MAX = 64
_INT_MAX = 2**63 - 1


PackedMark = tuple[Any, ...]
"""A session's id and its figures as they were packed, not looked at yet."""


class Row(Protocol):
    """Columns of a session's row, by name."""

    def __getitem__(self, name: str, /) -> Any: ...


class Figures(NamedTuple):
    """What a session has used at one instant: whole charged seconds, held milliseconds."""

    marked_at_ms: int
    started_at_ms: int | None
    private_s: int
    held_ms: int
    cam2cam_s: int
    cam2cam_held_ms: int
    two_way_audio_s: int
    two_way_audio_held_ms: int

    def charged_units(self, row: Row) -> int:
        """The seconds at the prices in the session's row."""
        charged: int = (
            self.private_s * row["private_units_per_s"]
            + self.cam2cam_s * row["cam2cam_units_per_s"]
            + self.two_way_audio_s * row["two_way_audio_units_per_s"]
        )
        return charged


_FIELDS = len(Figures._fields)
_pack = msgpack.Packer(autoreset=True).pack


def pack(page: Iterable[tuple[str, Figures]]) -> bytes:
    """A page's record."""
    return pack_marks([(session_id, *figures) for session_id, figures in page])


def pack_marks(page: Sequence[tuple[str | int | None, ...]]) -> bytes:
    """A page's record, of session ids with their figures after them."""
    body: bytes = _pack(page)
    return bytes((VERSION,)) + zlib.crc32(body).to_bytes(4, "big") + body


def unpack(record: bytes) -> dict[str, PackedMark] | None:
    """Session → its mark, for `figures_in`; None when the record is torn or not one of ours.

    Whoever asks for one session does not pay for looking at all that share its page.
    """
    if not _HEAD_BYTES < len(record) <= RECORD_BYTES_MAX or record[0] != VERSION:
        return None
    body = record[_HEAD_BYTES:]
    if zlib.crc32(body) != int.from_bytes(record[1:_HEAD_BYTES], "big"):
        return None
    try:
        page = msgpack.unpackb(body, use_list=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException):
        return None
    if type(page) is not tuple:
        return None
    found: dict[str, PackedMark] = {}
    for mark in page:
        if type(mark) is not tuple or len(mark) != 1 + _FIELDS or type(mark[0]) is not str:
            return None
        found[mark[0]] = mark
    return found


def figures_in(mark: PackedMark) -> Figures | None:
    """What it says; None when that cannot be true."""
    return Figures(*mark[1:]) if _sound(mark) else None


def _sound(mark: PackedMark) -> bool:
    session_id, marked_at_ms, started_at_ms, *used = mark
    if not 0 < len(session_id) <= _ID_CHARS_MAX:
        return False
    instants = [marked_at_ms] if started_at_ms is None else [marked_at_ms, started_at_ms]
    if not all(type(value) is int and 0 <= value <= _INT_MAX for value in (*instants, *used)):
        return False
    return all(used[n] * 1_000 <= used[n + 1] for n in range(0, len(used), 2))


def of_row(row: Row) -> Figures:
    """The figures in a session's own row."""
    return Figures(*(row[name] for name in Figures._fields))


def later(row: Figures, page: Figures | None) -> Figures:
    """The later of two true states of one session; what is not later in everything is not."""
    if page is None or any(new < old for new, old in zip(page[2:], row[2:], strict=True)):
        return row
    return page
