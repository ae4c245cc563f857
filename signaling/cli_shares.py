"""`parlour expert share`: what an expert earns of each feature, and every change of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from billing_meter import share_rows
from billing_meter.ledger_rows import GuardFailed
from billing_meter.ledger_store import utc_ms
from billing_meter.shares import PERCENT_MAX, Shares, Source
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
    state_named,
    who,
)
from signaling.config import Config
from signaling.store import opened_store, utc_now

ALL: Final = "all"


def expert_share(
    name: Annotated[str, typer.Argument(help="The expert's name.")],
    feature: Annotated[
        str, typer.Argument(help=f"{', '.join(Source)}; or {ALL}.", show_default=False)
    ] = "",
    percent: Annotated[
        str, typer.Argument(help="Whole per cent of what members pay.", show_default=False)
    ] = "",
    changes: Annotated[
        bool, typer.Option("--changes", help="Show every change instead, the oldest first.")
    ] = False,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an expert earns, or change it for what begins or is bought from now on."""
    chosen = settings(config, data)
    if feature:
        known = tuple(Source)
        wanted = known if feature == ALL else (state_named(feature, known, ALL, what="feature"),)
        asyncio.run(_change(chosen, name, wanted, _percent(percent), who(by)))
    if changes:
        show_list("changes", asyncio.run(_changes(chosen, name)), as_json)
        return
    shares = asyncio.run(_shares(chosen, name))
    show({"expert": name, **{source.value: shares.of(source) for source in Source}}, as_json)


def _percent(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) > PERCENT_MAX:
        raise CommandError("bad_percent", f"a share is 0 to {PERCENT_MAX} per cent, not {text!r}")
    return int(text)


async def _shares(config: Config, name: str) -> Shares:
    async with opened_store(config) as database:
        account = await account_named(config, database, name)
        async with database.read() as connection:
            found = await share_rows.read(connection, [account.account_id])
    return _of_expert(found.get(account.account_id), name)


async def _change(
    config: Config, name: str, sources: Sequence[Source], percent: int, changed_by: str
) -> None:
    async with opened_store(config) as database:
        account = await account_named(config, database, name)
        decided = (percent, utc_ms(utc_now()), changed_by)
        try:
            async with database.write() as connection:
                found = await share_rows.change(connection, account.account_id, sources, *decided)
        except GuardFailed as error:
            raise CommandError("changed_meanwhile", f"{error}: look again") from None
    _of_expert(found, name)


async def _changes(config: Config, name: str) -> list[dict[str, object]]:
    async with opened_store(config) as database:
        account = await account_named(config, database, name)
        async with database.read() as connection:
            found = await share_rows.changes_of(connection, account.account_id)
    return [
        {
            "when": instant_text(one.at_ms),
            "feature": one.source.value,
            "percent": one.percent,
            "was_percent": one.was_percent,
            "by": one.changed_by,
        }
        for one in found
    ]


def _of_expert(shares: Shares | None, name: str) -> Shares:
    if shares is None:
        raise CommandError("no_expert", f"{name!r} is not an expert")
    return shares
