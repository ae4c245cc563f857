"""`parlour mail list|retry`: what the outbox holds, and dead mails tried anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final, get_args

import typer

from billing_meter import outbox
from billing_meter.ledger_store import utc_ms
from billing_meter.outbox import Kept, MailState
from signaling.cli_common import (
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    instant_text,
    settings,
    show,
    show_list,
    state_named,
)
from signaling.config import Config
from signaling.store import opened_store, utc_now

LISTED_MAX: Final = 200
mail_cli = typer.Typer(no_args_is_help=True, help="Mails: what waits, what could not be sent.")


@mail_cli.command("list")
def mail_list(
    state: Annotated[str, typer.Option(help="dead, waiting or sent.")] = "dead",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show mails, the newest first; neither addresses nor texts."""
    wanted: MailState = state_named(state, get_args(MailState))
    found = asyncio.run(_of_state(settings(config, data), wanted))
    show_list("mails", [_shown(mail) for mail in found], as_json)


@mail_cli.command("retry")
def mail_retry(
    mail: Annotated[str | None, typer.Argument(help="A mail, as `list` names it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead mail.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let dead mails be tried anew, under the Message-ID that they had."""
    if (mail is None) == (not everything):
        raise CommandError("bad_usage", "name a mail, or say --all")
    count = asyncio.run(_revive(settings(config, data), mail))
    if mail is not None and not count:
        raise CommandError("not_dead", f"there is no dead mail {mail!r} of the last three days")
    show({"retried": count}, as_json)


async def _of_state(config: Config, state: MailState) -> Sequence[Kept]:
    async with opened_store(config) as database, database.read() as connection:
        return await outbox.of_state(connection, state, LISTED_MAX)


async def _revive(config: Config, mail: str | None) -> int:
    async with opened_store(config) as database, database.write() as connection:
        return await outbox.revive(connection, utc_ms(utc_now()), mail)


def _shown(mail: Kept) -> dict[str, object]:
    return {
        "mail": mail.event_id,
        "kind": mail.kind,
        "state": mail.state,
        "tries": mail.tries,
        "queued": instant_text(mail.at_ms),
        "error": mail.error or "-",
    }
