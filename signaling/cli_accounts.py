"""`parlour expert add`, `parlour member add`, `parlour token`: accounts from the command line."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Literal

import typer

from billing_meter.tariff import Tariff
from billing_meter.units import credits_text, units_from_credits
from billing_meter.wallet import Wallet
from rooms.directory import ExpertDetails
from signaling import store
from signaling.accounts import NameTaken, NewAccount, email_fault, name_fault
from signaling.cli_common import (
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    account_named,
    accounts_of,
    settings,
    show,
)
from signaling.config import Config
from signaling.experts import EXPERT_NAME, Experts
from signaling.passwords import weakness
from signaling.tokens import TTL_S_DEFAULT, TTL_S_MAX, Grant, Tokens, secret_of

PASSWORD_BYTES = 12
expert_cli = typer.Typer(no_args_is_help=True, help="Experts: those who broadcast.")
member_cli = typer.Typer(no_args_is_help=True, help="Members: those who watch and buy.")

PasswordOption = Annotated[
    str | None,
    typer.Option(
        help="Password; without it one is made and printed.", envvar="PARLOUR_NEW_PASSWORD"
    ),
]


@expert_cli.command("add")
def expert_add(
    name: Annotated[str, typer.Argument(help="Broadcaster name: a-z, 0-9, - and _.")],
    password: PasswordOption = None,
    display_name: Annotated[str, typer.Option(help="Shown name; else the name.")] = "",
    headline: Annotated[str, typer.Option(help="One line under the name.")] = "",
    about: Annotated[str, typer.Option(help="The text of the profile.")] = "",
    category: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    price: Annotated[str, typer.Option(help="Credits a minute of a private session.")] = "2.99",
    cam2cam_price: Annotated[str, typer.Option(help="Credits a minute of Cam2Cam.")] = "1.00",
    two_way_audio_price: Annotated[
        str, typer.Option(help="Credits a minute of two-way audio.")
    ] = "0.50",
    cam2cam: Annotated[bool, typer.Option(help="Whether Cam2Cam is offered.")] = True,
    two_way_audio: Annotated[bool, typer.Option(help="Whether two-way audio is offered.")] = True,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an expert and print the stream key, which cannot be shown again."""
    details = ExpertDetails(
        display_name=display_name or name,
        headline=headline,
        about=about,
        categories=tuple(category or ()),
        languages=tuple(language or ("en",)),
        tariff=_tariff(price, cam2cam_price, two_way_audio_price),
        cam2cam=cam2cam,
        two_way_audio=two_way_audio,
    )
    result = asyncio.run(_add_expert(settings(config, data), name, password, details))
    show(result, as_json)


@member_cli.command("add")
def member_add(
    name: Annotated[str, typer.Argument(help="Username.")],
    password: PasswordOption = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    credits_: Annotated[
        str, typer.Option("--credits", help="Credits to give; they make the member premium.")
    ] = "0",
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a member."""
    result = asyncio.run(
        _add_member(settings(config, data), name, password, email, _units(credits_, "--credits"))
    )
    show(result, as_json)


def token(
    name: Annotated[str, typer.Argument(help="Username or expert name; any name with --guest.")],
    guest: Annotated[bool, typer.Option("--guest", help="For a guest of this name.")] = False,
    ttl_s: Annotated[
        int, typer.Option("--ttl", min=1, max=TTL_S_MAX, help="Seconds until it expires.")
    ] = TTL_S_DEFAULT,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a bearer token for programs that act as this account."""
    chosen = settings(config, data)
    grant = Grant(sub=name, role="guest", name=name) if guest else asyncio.run(_grant(chosen, name))
    store.prepare_data_dir(chosen.data_dir)
    tokens = Tokens(secret_of(chosen.auth.secret, chosen.data_dir), store.utc_now)
    made = tokens.issue(grant, ttl_s)
    if as_json:
        show({"token": made, "role": grant.role, "expires_s": ttl_s}, as_json)
    else:
        print(made)


async def _add_expert(
    config: Config, name: str, password: str | None, details: ExpertDetails
) -> dict[str, object]:
    if not EXPERT_NAME.fullmatch(name):
        raise CommandError(
            "bad_name", f"{name!r} is not usable as a name: 2 to 32 of a-z, 0-9, - and _"
        )
    unknown = sorted(set(details.categories) - set(config.rooms.categories))
    if unknown:
        raise CommandError(
            "unknown_category",
            f"unknown category {unknown[0]!r}; known are {', '.join(config.rooms.categories)}",
        )
    chosen = _checked_password(name, password)
    async with store.opened_store(config) as database:
        with accounts_of(config, database) as accounts:
            experts = Experts(database, accounts, store.utc_now)
            added = await experts.add(name, chosen, details)
    if isinstance(added, NameTaken):
        raise CommandError("name_taken", f"the name {name!r} is taken")
    account, key = added
    result: dict[str, object] = {
        "name": name,
        "expert_id": account.account_id,
        "stream_key": key,
        "whip_path": f"/whip/{name}",
    }
    return result if password else {**result, "password": chosen}


async def _add_member(
    config: Config, name: str, password: str | None, email: str | None, units: int
) -> dict[str, object]:
    fault = name_fault(name) or (email_fault(email) if email else None)
    if fault is not None:
        raise CommandError("bad_name", fault)
    chosen = _checked_password(name, password)
    async with store.opened_store(config) as database:
        with accounts_of(config, database) as accounts:
            account = await accounts.add(NewAccount("member", name, chosen, email))
        if isinstance(account, NameTaken):
            raise CommandError("name_taken", f"the name {name!r} is taken")
        wallet = Wallet(database, utc_now=store.utc_now)
        if units:
            key = f"cli:member-add:{account.account_id}"
            await wallet.grant_promo(account.account_id, units, key, "command line")
    result: dict[str, object] = {
        "username": name,
        "member_id": account.account_id,
        "credits": credits_text(units),
        "credits_units": units,
    }
    return result if password else {**result, "password": chosen}


async def _grant(config: Config, name: str) -> Grant:
    async with store.opened_store(config) as database:
        account = await account_named(config, database, name)
    role: Literal["member", "expert"] = account.kind
    return Grant(sub=account.account_id, role=role, name=account.username)


def _checked_password(name: str, password: str | None) -> str:
    if password is None:
        return secrets.token_urlsafe(PASSWORD_BYTES)
    fault = weakness(password, name)
    if fault is not None:
        raise CommandError("weak_password", fault)
    return password


def _tariff(private: str, cam2cam: str, two_way_audio: str) -> Tariff:
    """Credits a minute to units a second: hundredths of a credit a minute are the same number."""
    prices = [
        _units(text, option)
        for text, option in (
            (private, "--price"),
            (cam2cam, "--cam2cam-price"),
            (two_way_audio, "--two-way-audio-price"),
        )
    ]
    if any(units % 60 for units in prices):
        raise CommandError("bad_price", "prices have at most two decimals")
    try:
        return Tariff(*(units // 60 for units in prices))
    except ValueError as error:
        raise CommandError("bad_price", str(error)) from None


def _units(text: str, option: str) -> int:
    try:
        units = units_from_credits(text)
    except ValueError as error:
        raise CommandError("bad_amount", f"{option}: {error}") from None
    if units < 0:
        raise CommandError("bad_amount", f"{option}: {text} is negative")
    return units
