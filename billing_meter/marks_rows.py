"""Pages of marks in SQL: written with each tick, read beside the rows of open sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import marks, schema
from billing_meter.marks import Figures, PackedMark, Row

_S, _M = schema.sessions.c, schema.marks.c
RECORD = _M.record.label("marks_record")
"""To be selected beside a session's columns, from `WITH_MARKS`."""
ON_ITS_PAGE = sa.and_(_M.node == _S.node, _M.page == _S.page, _M.epoch == _S.epoch)
WITH_MARKS = schema.sessions.outerjoin(schema.marks, ON_ITS_PAGE)

_UPSERT = """
INSERT INTO meter_marks (node, page, epoch, record) {source}
ON CONFLICT (node, page) DO UPDATE SET epoch = excluded.epoch, record = excluded.record
WHERE meter_marks.epoch <= excluded.epoch
"""
_EACH = sa.text(_UPSERT.format(source="VALUES (:node, :page, :epoch, :record)"))
_ALL = sa.text(
    _UPSERT.format(
        source="SELECT :node, given.page, :epoch, given.record"
        " FROM unnest(:pages, :records) AS given (page, record)"
    )
).bindparams(
    sa.bindparam("node", type_=sa.String()),
    sa.bindparam("epoch", type_=sa.BigInteger()),
    sa.bindparam("pages", type_=ARRAY(sa.Integer())),
    sa.bindparam("records", type_=ARRAY(sa.LargeBinary())),
)


async def write(
    connection: AsyncConnection, node: str, epoch: int, pages: Sequence[tuple[int, bytes]]
) -> bool:
    """Make pages durable with the transaction; False when one belongs to a later epoch."""
    if not pages:
        return True
    if connection.dialect.name == "sqlite":
        rows = [
            {"node": node, "page": page, "epoch": epoch, "record": record} for page, record in pages
        ]
        result = await connection.execute(_EACH, rows)
    else:
        arrays = {"pages": [page for page, _ in pages], "records": [record for _, record in pages]}
        result = await connection.execute(_ALL, {"node": node, "epoch": epoch, **arrays})
    return result.rowcount == len(pages)


async def forget(connection: AsyncConnection, node: str, before_epoch: int) -> None:
    """Remove the pages of a node's earlier owners, whose sessions are settled."""
    await connection.execute(
        sa.delete(schema.marks).where(_M.node == node, _M.epoch < before_epoch)
    )


class Reader:
    """Reads durable figures out of rows of `WITH_MARKS`; each page is unpacked once."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, int], Mapping[str, PackedMark]] = {}
        self.torn: set[str] = set()
        """Pages that cannot be read, as `node/page`."""

    def figures(self, row: Row) -> Figures:
        """The durable figures of a session: its own row's unless it is open and marked since."""
        own = marks.of_row(row)
        record = row["marks_record"]
        if record is None or row["state"] != "open":
            return own
        place = (row["node"], row["page"])
        page = self._pages.get(place)
        if page is None:
            found = marks.unpack(bytes(record))
            if found is None:
                self.torn.add(f"{place[0]}/{place[1]}")
            page = self._pages[place] = found or {}
        mark = page.get(row["session_id"])
        if mark is None:
            return own
        figures = marks.figures_in(mark)
        if figures is None:
            self.torn.add(f"{place[0]}/{place[1]}")
        return marks.later(own, figures)

    def row(self, row: sa.RowMapping) -> dict[str, Any]:
        """The row as if it had been written with its last mark."""
        figures = self.figures(row)
        charged_units = figures.charged_units(row)
        return {**row, **figures._asdict(), "charged_units": charged_units}


NEEDED = (
    *(_S[name] for name in Figures._fields),
    *(_S.session_id, _S.state, _S.node, _S.page, _S.posted_units),
    *(_S.private_units_per_s, _S.cam2cam_units_per_s, _S.two_way_audio_units_per_s),
    RECORD,
)
"""The columns that a `Reader` reads."""


async def durable_rows(
    connection: AsyncConnection, session_ids: Iterable[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Rows of these sessions, or of all, as of their last durable marks."""
    query = sa.select(schema.sessions, RECORD).select_from(WITH_MARKS)
    if session_ids is not None:
        query = query.where(_S.session_id.in_(list(session_ids)))
    reader = Reader()
    rows = (await connection.execute(query)).mappings()
    return {row["session_id"]: reader.row(row) for row in rows}
