"""How every connection pool is made: what fails is told without what was in it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def new_engine(url: str | sa.URL, **options: Any) -> AsyncEngine:
    """A statement that fails names its columns in the log, never an address, a hash or a card."""
    return create_async_engine(url, hide_parameters=True, **options)
