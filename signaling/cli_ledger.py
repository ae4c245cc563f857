"""`parlour ledger verify|reconcile|statement`."""

from __future__ import annotations

import typer

ledger_cli = typer.Typer(no_args_is_help=True, help="Prove and show the books.")


@ledger_cli.command("verify")
def verify() -> None:
    """Later."""
