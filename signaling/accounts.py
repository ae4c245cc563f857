"""Accounts: names, passwords, who may sign in. Sessions and expert profiles are elsewhere."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, exists, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter.database import Database
from billing_meter.ledger_store import utc_ms
from billing_meter.schema import members
from billing_meter.shares import DEFAULT_SHARES, Shares
from billing_meter.wallet import ensure_expert, ensure_member
from signaling.mail_address import is_address
from signaling.passwords import Passwords
from signaling.schema import accounts, staff_roles

AccountKind = Literal["member", "expert"]
Language = Literal["en", "nb"]

ID_BYTES = 12
"""96 random bits: opaque, and never the same for two accounts."""
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{2,23}")
_RESERVED = """
admin administrator anonymous api expert guest help moderator parlour root staff studio support
system wallet you
"""
RESERVED = frozenset(_RESERVED.split())
_IS_STAFF = (
    exists()
    .where(staff_roles.c.account_id == accounts.c.account_id, staff_roles.c.until_ms.is_(None))
    .label("is_staff")
)


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `kind` never changes; an expert's username is the broadcaster name.

    `staff` is a role beside the kind: only the command line gives it.
    """

    account_id: str
    kind: AccountKind
    username: str
    language: Language
    created_at_ms: int
    staff: bool = False


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where an account gets its mail, and how it is spoken to."""

    email: str
    username: str
    language: Language


@dataclass(frozen=True, slots=True)
class NameTaken:
    """The username, or one that looks like it, belongs to somebody."""

    username: str


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What an account is made of. Without a password nobody can sign in to it."""

    kind: AccountKind
    username: str
    password: str | None
    email: str | None = None
    language: Language = "en"
    premium_wanted: bool = False


class Accounts:
    """The account store."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        utc_now: Callable[[], dt.datetime],
        *,
        shares: Shares = DEFAULT_SHARES,
    ) -> None:
        self._database = database
        self._shares = shares
        self._passwords = passwords
        self._utc_now = utc_now

    async def add(self, new: NewAccount) -> Account | NameTaken:
        """Make an account in a transaction of its own."""
        password_hash = await self.hashed(new.password)
        try:
            async with self._database.write() as connection:
                return await self.insert(connection, new, password_hash)
        except IntegrityError:
            return NameTaken(new.username)

    async def hashed(self, password: str | None) -> str | None:
        """The hash to hand to `insert`; made outside its transaction, since it takes long."""
        return None if password is None else await self._passwords.hash(password)

    async def insert(
        self, connection: AsyncConnection, new: NewAccount, password_hash: str | None
    ) -> Account:
        """Make an account and its money accounts inside the caller's transaction.

        IntegrityError if the name is taken.
        """
        account = Account(
            account_id=new.kind[0] + "_" + secrets.token_hex(ID_BYTES),
            kind=new.kind,
            username=new.username,
            language=new.language,
            created_at_ms=utc_ms(self._utc_now()),
        )
        await connection.execute(
            insert(accounts).values(
                account_id=account.account_id,
                kind=new.kind,
                username=new.username,
                username_folded=folded(new.username),
                email=new.email,
                password_hash=password_hash,
                language=new.language,
                premium_wanted=new.premium_wanted,
                suspended=False,
                created_at_ms=account.created_at_ms,
            )
        )
        if new.kind == "member":
            await ensure_member(connection, account.account_id, account.created_at_ms)
        else:
            await ensure_expert(connection, account.account_id, account.created_at_ms, self._shares)
        return account

    async def check_login(self, username: str, password: str) -> Account | None:
        """The account if name and password are right; as slow for unknown names as for known."""
        async with self._database.read() as connection:
            query = select(accounts).where(accounts.c.username_folded == folded(username))
            row = (await connection.execute(query)).one_or_none()
        kept_hash = row.password_hash if row is not None and not row.suspended else None
        right = await self._passwords.matches(kept_hash, password)
        return _account(row) if right and row is not None else None

    async def by_id(self, account_id: str) -> Account | None:
        """One account that may act, or None."""
        return await self._one(accounts.c.account_id == account_id)

    async def by_name(self, username: str) -> Account | None:
        """One account that may act, by its name in any case, or None."""
        return await self._one(accounts.c.username_folded == folded(username))

    async def mailbox(self, account_id: str) -> Mailbox | None:
        """Where mail to an account goes now, suspended or not; None without an address."""
        query = select(accounts.c.email, accounts.c.username, accounts.c.language).where(
            accounts.c.account_id == account_id
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return Mailbox(row.email, row.username, row.language) if row and row.email else None

    async def bought_elsewhere(self, account_id: str, email: str) -> bool:
        """Whether another account with this address has ever had credits."""
        others = members.c.member_id == accounts.c.account_id
        query = (
            select(accounts.c.account_id)
            .join(members, others)
            .where(
                func.lower(accounts.c.email) == email.lower(),
                accounts.c.account_id != account_id,
                members.c.premium_since_ms.is_not(None),
            )
            .limit(1)
        )
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def count(self) -> int:
        """How many accounts there are; the demo fills an empty store only."""
        async with self._database.read() as connection:
            query = select(func.count()).select_from(accounts)
            return int((await connection.execute(query)).scalar_one())

    async def names(self, account_ids: Iterable[str]) -> dict[str, str]:
        """The usernames of accounts, suspended or not; unknown ones are left out."""
        query = select(accounts.c.account_id, accounts.c.username).where(
            accounts.c.account_id.in_(set(account_ids))
        )
        async with self._database.read() as connection:
            return {row.account_id: row.username for row in await connection.execute(query)}

    async def _one(self, condition: ColumnElement[bool]) -> Account | None:
        async with self._database.read() as connection:
            query = select(accounts, _IS_STAFF).where(condition, accounts.c.suspended.is_(False))
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _account(row, staff=row.is_staff)


def folded(username: str) -> str:
    """The form in which usernames must differ: compatibility forms and case do not count."""
    return unicodedata.normalize("NFKC", username).casefold()[:64]


def name_fault(username: str) -> str | None:
    """Why a username is refused, for its owner to read, or None."""
    if not USERNAME.fullmatch(username):
        return (
            "Use 3 to 24 letters a-z, digits, dots, dashes or underscores,"
            " beginning with a letter or digit."
        )
    if folded(username) in RESERVED:
        return "This name is reserved."
    return None


def email_fault(email: str) -> str | None:
    """Why an address is refused, or None. Only a mail to it can really tell."""
    if not is_address(email):
        return "This is not an e-mail address."
    return None


def _account(row: Row[Any], *, staff: bool = False) -> Account:
    return Account(
        row.account_id, row.kind, row.username, row.language, row.created_at_ms, bool(staff)
    )
