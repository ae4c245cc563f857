"""`parlour ledger verify|reconcile|statement|export`: prove and show the books while serving."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer

from billing_meter.database import Database
from billing_meter.journal import COLUMNS, journal
from billing_meter.ledger_store import utc_ms
from billing_meter.statements import Report, Statement, reconcile, statement, verify
from billing_meter.units import credits_text
from signaling.cli_common import (
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    account_named,
    settings,
    show,
)
from signaling.config import Config
from signaling.csv_text import csv_text
from signaling.store import opened_store, utc_now

EXIT_FINDINGS = 1
"""The command worked and the books are wrong; 2 is for a command that could not look."""
ledger_cli = typer.Typer(no_args_is_help=True, help="Prove and show the books.")


@ledger_cli.command("verify")
def ledger_verify(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Prove the ledger by itself: numbering, double entry, balances, holds, hash chain."""
    _report(asyncio.run(_with_store(settings(config, data), verify)), as_json)


@ledger_cli.command("reconcile")
def ledger_reconcile(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Compare the ledger with what caused it: sessions, orders, payments."""
    _report(asyncio.run(_with_store(settings(config, data), reconcile)), as_json)


@ledger_cli.command("statement")
def ledger_statement(
    name: Annotated[str, typer.Argument(help="A member's or an expert's name.")],
    since: Annotated[
        str | None, typer.Option("--from", help="First day (UTC), YYYY-MM-DD.", metavar="DAY")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Last day (UTC), YYYY-MM-DD.", metavar="DAY")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """A member's credits or an expert's earnings, line by line."""
    from_ms = 0 if since is None else utc_ms(_day(since, "--from"))
    end = utc_now() if until is None else _day(until, "--to")
    # The end of a statement is exclusive: the last day counts whole, and so does this instant.
    to_ms = utc_ms(end + dt.timedelta(days=1)) if until else utc_ms(end) + 1
    made = asyncio.run(_statement(settings(config, data), name, from_ms, to_ms))
    if as_json:
        show(asdict(made) | {"name": name}, as_json)
    else:
        _print_statement(name, made)
    if made.findings:
        raise typer.Exit(EXIT_FINDINGS)


@ledger_cli.command("export")
def ledger_export(
    name: Annotated[
        str | None, typer.Argument(help="A member's or an expert's name; else everything.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A new file; else standard output.", metavar="FILE")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write the journal as CSV: a row for each posting of each transfer, in order."""
    chosen = settings(config, data)
    if output is None:
        asyncio.run(_export(chosen, name, sys.stdout))
        return
    try:
        made = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError("bad_output", f"--output {output}: {error.strerror}") from None
    with os.fdopen(made, "w", encoding="utf-8", newline="") as file:
        asyncio.run(_export(chosen, name, file))


async def _export(config: Config, name: str | None, file: TextIO) -> None:
    async with opened_store(config) as database:
        owner_id = (
            None if name is None else (await account_named(config, database, name)).account_id
        )
        file.write(csv_text([COLUMNS]))
        async for rows in journal(database, owner_id):
            file.write(csv_text(rows))


async def _with_store(config: Config, look: Callable[[Database], Awaitable[Report]]) -> Report:
    async with opened_store(config) as database:
        return await look(database)


async def _statement(config: Config, name: str, from_ms: int, to_ms: int) -> Statement:
    async with opened_store(config) as database:
        account = await account_named(config, database, name)
        return await statement(database, account.account_id, from_ms, to_ms, owner=account.kind)


def _report(report: Report, as_json: bool) -> None:
    if as_json:
        show(
            {
                "ok": report.ok,
                "checked": dict(report.checked),
                "findings": [asdict(finding) for finding in report.findings],
            },
            as_json,
        )
    else:
        show({f"checked {name}": number for name, number in report.checked.items()}, as_json)
        for finding in report.findings:
            print(f"WRONG  {finding.code}  {finding.subject}  {finding.detail}")
        print("the books are right" if report.ok else f"{len(report.findings)} findings")
    if not report.ok:
        raise typer.Exit(EXIT_FINDINGS)


def _print_statement(name: str, made: Statement) -> None:
    print(f"{name}: opening {credits_text(made.opening_units)} credits")
    for line in made.lines:
        at = dt.datetime.fromtimestamp(line.at_ms / 1000, dt.UTC)
        print(
            f"{at:%Y-%m-%d %H:%M:%S}  {line.kind:16} {credits_text(line.units):>10}"
            f"  {credits_text(line.balance_after_units):>10}  {line.subject or ''}"
        )
    print(f"{name}: closing {credits_text(made.closing_units)} credits")
    for finding in made.findings:
        print(f"WRONG  {finding.code}  {finding.subject}  {finding.detail}")


def _day(text: str, option: str) -> dt.datetime:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        raise CommandError("bad_day", f"{option}: {text!r} is not a day like 2026-01-31") from None
