"""`parlour payout list|approve|deny|paid|failed|returned`: what experts are paid, for staff."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from billing_meter.ledger_store import LedgerStore
from billing_meter.payout_rules import OPEN, Payout, PayoutState
from billing_meter.payouts import PayoutRefused, Payouts
from billing_meter.units import credits_text
from signaling.accounts import Accounts
from signaling.cli_common import (
    ByOption,
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    accounts_of,
    instant_text,
    settings,
    show,
    show_list,
    state_named,
    who,
)
from signaling.compose_payments import payouts as payouts_of
from signaling.config import Config
from signaling.store import opened_store, utc_now

REASONS: Final[Mapping[str, str]] = {
    "no_payout": "there is no such payout",
    "wrong_state": "the payout is in another state; see `parlour payout list --state all`",
    "not_covered": "so much was taken back since that the expert would owe: deny it instead",
    "with_provider": "the payout provider pays this one and tells how it ends",
}
payout_cli = typer.Typer(no_args_is_help=True, help="Payouts: what experts are paid.")
PayoutArgument = Annotated[str, typer.Argument(help="The payout's id, as `list` shows it.")]
ReasonOption = Annotated[str, typer.Option(help="Why; the expert sees it.")]
T = TypeVar("T")


@payout_cli.command("list")
def payout_list(
    state: Annotated[
        str, typer.Option(help="open, all, or one of requested, approved, paid, …")
    ] = "open",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show payouts with the accounts to pay to: open ones the oldest first."""
    states = _states(state)

    async def look(payouts: Payouts, accounts: Accounts) -> list[dict[str, object]]:
        found = await payouts.of_states(*states)
        return [await _shown(payout, accounts) for payout in found]

    listed = asyncio.run(_with_payouts(settings(config, data), look))
    show_list("payouts", listed, as_json)


@payout_cli.command("approve")
def payout_approve(
    payout: PayoutArgument,
    manual: Annotated[
        bool, typer.Option("--manual", help="Paid by bank transfer, also if there is a provider.")
    ] = False,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a payout be paid: by the provider, or by you, who then calls `paid` or `failed`."""
    _step(lambda payouts: payouts.approve(payout, who(by), manual=manual), config, data, as_json)


@payout_cli.command("deny")
def payout_deny(
    payout: PayoutArgument,
    reason: ReasonOption = "",
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an undecided payout back to the expert's earnings."""
    _step(lambda payouts: payouts.deny(payout, who(by), reason), config, data, as_json)


@payout_cli.command("paid")
def payout_paid(
    payout: PayoutArgument,
    reference: Annotated[str, typer.Option(help="The bank's reference of the transfer.")],
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note that an approved payout was paid by bank transfer."""
    _step(lambda payouts: payouts.paid(payout, reference, who(by)), config, data, as_json)


@payout_cli.command("failed")
def payout_failed(
    payout: PayoutArgument,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note that an approved payout cannot be paid by bank transfer; it is given back."""
    _step(lambda payouts: payouts.failed(payout, reason, who(by)), config, data, as_json)


@payout_cli.command("returned")
def payout_returned(
    payout: PayoutArgument,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Note that the bank sent a paid payout back; the expert can have it paid out anew."""
    _step(lambda payouts: payouts.returned(payout, reason, who(by)), config, data, as_json)


def _step(
    act: Callable[[Payouts], Awaitable[Payout | PayoutRefused]],
    config: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Take one step of a payout and show what became of it."""

    async def done(payouts: Payouts, accounts: Accounts) -> dict[str, object] | PayoutRefused:
        outcome = await act(payouts)
        if isinstance(outcome, PayoutRefused):
            return outcome
        return await _shown(outcome, accounts)

    loaded = settings(config, data)
    try:
        outcome = asyncio.run(_with_payouts(loaded, done))
    except ValueError as error:
        raise CommandError("bad_text", f"{error}") from None
    if isinstance(outcome, PayoutRefused):
        raise CommandError(outcome.code, REASONS.get(outcome.code, outcome.code))
    show(outcome, as_json)


async def _with_payouts(config: Config, act: Callable[[Payouts, Accounts], Awaitable[T]]) -> T:
    async with opened_store(config) as database:
        with accounts_of(config, database) as accounts:
            store = LedgerStore(database, utc_now=utc_now)
            return await act(payouts_of(config, store), accounts)


async def _shown(payout: Payout, accounts: Accounts) -> dict[str, object]:
    """With the full IBAN: staff types it into the bank's page."""
    account = await accounts.by_id(payout.expert_id)
    return {
        "payout": payout.payout_id,
        "state": payout.state.value,
        "expert": account.username if account is not None else payout.expert_id,
        "amount": f"{payout.amount_minor // 100}.{payout.amount_minor % 100:02}",
        "currency": payout.currency,
        "credits": credits_text(payout.units),
        "asked": instant_text(payout.requested_at_ms),
        "channel": payout.channel or "-",
        "decided_by": payout.decided_by or "-",
        "closed_by": payout.closed_by or "-",
        "returned_by": payout.returned_by or "-",
        "reference": payout.reference or "-",
        "reason": payout.failure or "-",
        "iban": payout.iban,
        "holder": payout.holder,
    }


def _states(text: str) -> tuple[PayoutState, ...]:
    match text:
        case "open":
            return tuple(sorted(OPEN))
        case "all":
            return tuple(PayoutState)
        case _:
            return (state_named(text, tuple(PayoutState), "open", "all"),)
