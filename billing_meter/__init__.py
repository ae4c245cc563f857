"""The money: units, ledger, wallet, meter, tariffs, purchases.

What other packages use:

- `units`: `units_from_credits`, `credits_text`, `UNITS_PER_CREDIT`.
- `tariff`: `Component`, `Tariff` and the price limits.
- `database`: `Database`, `METADATA`, `DatabaseRefused`, `DatabaseUnavailable`.
- `wallet`: `Wallet` (balances, grants, premium); `ledger_store`: `Balance`.
- `meter`: `HeldMedia`, `SessionOrder`, `Summary`, `MeterSnapshot` and the `MeterEvent`s.
- `till`: `Till`, `Opened`, `Switched`, `Refused`; `sessions`: `session_record`.
"""
