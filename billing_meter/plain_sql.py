"""A statement of the SQL toolkit as its driver takes it: put together once, parameters as they are.

Only for parameters and rows of what drivers take and give as it is: integers, text, bytes, and
arrays of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler


class PlainStatement:
    """For connections of one dialect."""

    def __init__(self, statement: sa.Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        self._text = str(compiled)
        self._order = tuple(compiled.positiontup or ())
        self._constants = {
            name: value for name, value in compiled.params.items() if value is not None
        }

    async def execute(
        self, connection: AsyncConnection, given: Mapping[str, Any]
    ) -> sa.CursorResult[Any]:
        """Run it with these parameters, by name."""
        values = {**self._constants, **given}
        return await connection.exec_driver_sql(
            self._text, tuple(values[name] for name in self._order)
        )
