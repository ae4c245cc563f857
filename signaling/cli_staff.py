"""`parlour staff add|remove|list`: who decides what staff decides. Counts at once while serving."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from billing_meter.ledger_store import utc_ms
from signaling import staff
from signaling.cli_common import (
    ByOption,
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    account_named,
    instant_text,
    settings,
    show,
    show_list,
    who,
)
from signaling.config import Config
from signaling.store import opened_store, utc_now

staff_cli = typer.Typer(
    no_args_is_help=True, help="Staff: who decides on refunds, payouts and purchases."
)
NameArgument = Annotated[str, typer.Argument(help="An account's name, as it signs in.")]


@staff_cli.command("add")
def staff_add(
    name: NameArgument,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account staff."""
    _decide(name, who(by), settings(config, data), as_json, is_staff=True)


@staff_cli.command("remove")
def staff_remove(
    name: NameArgument,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the role away. What was decided stays decided."""
    _decide(name, who(by), settings(config, data), as_json, is_staff=False)


@staff_cli.command("list")
def staff_list(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show who is or was staff, and who decided so."""
    show_list("staff", asyncio.run(_roles(settings(config, data))), as_json)


def _decide(name: str, by: str, config: Config, as_json: bool, *, is_staff: bool) -> None:
    if not asyncio.run(_change(config, name, by, give=is_staff)):
        code, text = ("already_staff", "staff already") if is_staff else ("not_staff", "not staff")
        raise CommandError(code, f"{name!r} is {text}")
    show({"name": name, "staff": is_staff}, as_json)


async def _change(config: Config, name: str, by: str, *, give: bool) -> bool:
    async with opened_store(config) as database:
        account = await account_named(config, database, name)
        change = staff.give if give else staff.take
        async with database.write() as connection:
            return await change(connection, account.account_id, by, utc_ms(utc_now()))


async def _roles(config: Config) -> list[dict[str, object]]:
    async with opened_store(config) as database, database.read() as connection:
        found = await staff.roles(connection)
    return [
        {
            "name": role.username,
            "since": instant_text(role.since_ms),
            "given_by": role.given_by,
            "until": "-" if role.until_ms is None else instant_text(role.until_ms),
            "taken_by": role.taken_by or "-",
        }
        for role in found
    ]
