"""What the commands share: options, accounts, how errors come out and results are printed."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from billing_meter.database import Database
from signaling import store
from signaling.accounts import Account, Accounts
from signaling.config import Config, load

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (TOML).", metavar="FILE")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory.", metavar="DIR")]
ByOption = Annotated[str | None, typer.Option(help="Who decides; else the system's user.")]
NAME_CHARS_MAX: Final = 64
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
State = TypeVar("State", bound=str)


class CommandError(Exception):
    """A command that cannot be done as asked; one line for people, exit code 2."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def settings(config: Path | None, data: Path | None) -> Config:
    """The configuration of a command that needs the store."""
    flags: dict[str, dict[str, object]] = {"server": {"data": str(data)}} if data else {}
    return load(config, os.environ, flags)


@contextlib.contextmanager
def accounts_of(config: Config, database: Database) -> Iterator[Accounts]:
    """The accounts in the store."""
    shares = config.shares.of_new_experts
    with store.passwords() as hasher:
        yield Accounts(database, hasher, store.utc_now, shares=shares)


async def account_named(config: Config, database: Database, name: str) -> Account:
    """The account of that name; CommandError when there is none."""
    with accounts_of(config, database) as accounts:
        account = await accounts.by_name(name)
    if account is None:
        raise CommandError("no_such_account", f"there is no account {name!r}")
    return account


def state_named(text: str, known: Sequence[State], *more: str, what: str = "state") -> State:
    """The state that is called so; CommandError that names all, with `more` that may be said."""
    for state in known:
        if state == text:
            return state
    names = ", ".join([*more, *known])
    raise CommandError(f"bad_{what}", f"no {what} {text!r}: {names}")


def show(result: Mapping[str, object], as_json: bool) -> None:
    """Print a result: JSON for programs, `name: value` lines for people."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        print(f"{name.replace('_', ' '):{width}}  {value}")


def show_list(name: str, rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    """Print results: `{name: [...]}` for programs, a line for each for people."""
    if as_json:
        show({name: list(rows)}, as_json)
        return
    for row in rows:
        print("  ".join(str(value) for value in row.values()))


def instant_text(at_ms: int) -> str:
    """UTC milliseconds as people and programs read them."""
    return dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def who(by: str | None) -> str:
    """The name under which something is decided."""
    return (by or getpass.getuser())[:NAME_CHARS_MAX]
