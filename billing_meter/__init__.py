"""The money: units, ledger, wallet, meter, tariffs, purchases."""
