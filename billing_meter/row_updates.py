"""Many rows written by one guarded UPDATE or INSERT each, in one round trip, and how many it hit.

SQLite runs the statement for one row after the other. A driver of PostgreSQL does not tell how many
rows that changes, so there the rows are a table (`unnest` of one array for each column) that the
statement is joined with. Rows go to the drivers as they are: what the SQL toolkit does to every
parameter of every row costs more than the database (`plain_sql.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from billing_meter.plain_sql import PlainStatement

ROWS_PER_STATEMENT = 250
"""Parameters are prepared on the event loop; this many rows take well under a millisecond."""
ROWS_PER_CALL = 1_000
"""Of rows that go to the driver as they are."""

Given = Mapping[str, sa.ColumnElement[Any]]


def checked(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """A column of text as a condition that no index can answer.

    Rows are to be found by their key. Where few rows seem to be in some state, PostgreSQL would go
    through all of those for each row that is given.
    """
    return column.concat("")


class _Rows:
    """A statement for each row of parameters, and the same for arrays of them."""

    def __init__(self, names: Iterable[str], each: sa.Executable, joined: sa.Executable) -> None:
        self._names = tuple(names)
        self._each = each
        self._joined = joined
        self._raw: tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] | None = None
        self._plain: PlainStatement | None = None

    async def run(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Apply it to rows; how many met its condition."""
        hit = 0
        for start in range(0, len(rows), ROWS_PER_CALL):
            hit += await self._some(connection, rows[start : start + ROWS_PER_CALL])
        return hit

    async def _some(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> int:
        if connection.dialect.name == "sqlite":
            if self._raw is None:
                self._raw = _raw(self._each, connection.dialect)
            text, values_of = self._raw
            result = await connection.exec_driver_sql(text, [values_of(row) for row in rows])
        else:
            if self._plain is None:
                self._plain = PlainStatement(self._joined, connection.dialect)
            arrays = {name: [row[name] for row in rows] for name in self._names}
            result = await self._plain.execute(connection, arrays)
        return result.rowcount


def _raw(
    statement: sa.Executable, dialect: Dialect
) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """A statement's text for the driver, and what gives its values out of a row.

    Only for columns whose values the driver takes as they are: integers, text, booleans, bytes.
    """
    compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    first, *rest = str(compiled).split("?")
    text, names = first, []
    for name, part in zip(compiled.positiontup or (), rest, strict=True):
        value = compiled.params[name]
        if value is None:
            names.append(name)
        text += ("?" if value is None else _literal(value)) + part
    return text, itemgetter(*names)


def _literal(value: object) -> str:
    """A constant of our own statements."""
    if isinstance(value, int):
        return str(int(value))
    assert isinstance(value, str)
    assert value.isidentifier() or not value
    return f"'{value}'"


def _given(types: Mapping[str, TypeEngine[Any]]) -> Any:
    """The arrays as a table."""
    arrays = [sa.bindparam(name, type_=ARRAY(kind)) for name, kind in types.items()]
    columns: list[sa.ColumnClause[Any]] = [sa.column(name, kind) for name, kind in types.items()]
    return sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()


class RowUpdates(_Rows):
    """An UPDATE for rows of parameters, two at least. `build` makes it from them, by name.

    No two rows of one call may be for the same row of the table.
    """

    def __init__(
        self, types: Mapping[str, TypeEngine[Any]], build: Callable[[Given], sa.Update]
    ) -> None:
        each = build({name: sa.bindparam(name, type_=kind) for name, kind in types.items()})
        given = _given(types)
        super().__init__(types, each, build({name: given.c[name] for name in types}))


class RowInserts(_Rows):
    """An INSERT for rows of a table that name all its columns."""

    def __init__(self, table: sa.Table) -> None:
        types = {column.name: column.type for column in table.columns}
        each = sa.insert(table).values({name: sa.bindparam(name) for name in types})
        given = _given(types)
        source = sa.select(*(given.c[name] for name in types))
        super().__init__(types, each, sa.insert(table).from_select(list(types), source))
