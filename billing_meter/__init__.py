"""The money: units, ledger, wallet, meter, tariffs, purchases.

What other packages use:

- `units`: `units_from_credits`, `credits_text`, `UNITS_PER_CREDIT`.
- `tariff`: `Component`, `Tariff` and the price limits.
- `database`: `Database`, `METADATA`, `DatabaseRefused`, `DatabaseUnavailable`.
- `wallet`: `Wallet` (balances, grants, premium); `ledger_store`: `Balance`.
- `meter`: `HeldMedia`, `SessionOrder`, `Summary`, `MeterSnapshot` and the `MeterEvent`s.
- `till`: `Till`, `Opened`, `Switched`, `Refused`; `sessions`: `session_record`.
- `limits`: `Limits`, `Span`; `limits_store`: `SpendLimits`; `sweeper`: `Sweeper`.
- `orders`: `Orders`, `Order`, `OrderRefused`, `FakeProvider`, `NoProvider`; `reload`: `Reload`.
- `statements`: `verify`, `reconcile`, `statement`, `transactions`.

Start: `prepare_ledger(database)`, `till.recover()`, `reload.load()`,
`till.listen_spent(reload.on_spent)`, `till.start()`, `orders.start()`.
Stop: `till.stop()`, `reload.idle()`, `orders.close()`, `database.close()`.
"""
