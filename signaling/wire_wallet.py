"""A wallet on the wire: the balance, and which part of the wallet changed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

WalletPart = Literal["auto_reload", "limits", "refunds"]


class Balance(Struct, kw_only=True):
    """`available` is what can be spent now: paid + promo − held."""

    paid_units: int
    promo_units: int
    held_units: int
    available_units: int
