"""What the till answers when a session is to be opened or switched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from billing_meter.meter_types import FundsCode, MeterSnapshot

RefusedCode = FundsCode | Literal["ledger_unavailable", "already_open", "not_open"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The session's row and its first grant are durable."""

    snapshot: MeterSnapshot


@dataclass(frozen=True, slots=True)
class Switched:
    """The switch is in force."""

    snapshot: MeterSnapshot


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changed."""

    code: RefusedCode
