"""Expert profiles and stream keys; the public part is in memory, as the grid asks often."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from billing_meter.database import Database
from billing_meter.ledger_store import utc_ms
from billing_meter.tariff import Tariff
from rooms.directory import ExpertDetails, ExpertProfile
from signaling.accounts import Account, Accounts, NameTaken, NewAccount
from signaling.schema import accounts, experts
from signaling.sessions import token_hash

KEY_PREFIX = "sk_"
KEY_BYTES = 24
"""192 random bits; people copy the key into encoders, so it is no longer than it must be."""
HINT_CHARS = 4
EXPERT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{1,31}")


class Experts:
    """The store of profiles. `load` first; look-ups then answer from memory."""

    def __init__(
        self, database: Database, accounts_store: Accounts, utc_now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._accounts = accounts_store
        self._utc_now = utc_now
        self._by_id: dict[str, ExpertProfile] = {}
        self._by_name: dict[str, ExpertProfile] = {}
        self._key_hashes: dict[str, str] = {}
        self._key_hints: dict[str, str] = {}
        self.on_change: Callable[[str], None] = lambda expert_id: None
        """Called with the id of each expert whose profile a load found new or changed."""
        self.on_gone: Callable[[ExpertProfile], None] = lambda profile: None
        """Called for each expert whom a load did not find any more: suspended."""

    async def load(self) -> None:
        """Read all profiles; again from time to time, since the command line may add some."""
        query = (
            select(experts)
            .join(accounts, accounts.c.account_id == experts.c.account_id)
            .where(accounts.c.suspended.is_(False))
        )
        async with self._database.read() as connection:
            # Ordered here: a database may order text by the rules of a language.
            rows = sorted(await connection.execute(query), key=lambda row: row.name)
        known, now = self._by_id, {row.account_id: _profile(row) for row in rows}
        for expert_id, profile in known.items():
            if expert_id not in now:  # while others still find the profile
                self.on_gone(profile)
        self._by_id = now
        self._by_name = {profile.name: profile for profile in self._by_id.values()}
        self._key_hashes = {row.account_id: row.stream_key_hash for row in rows}
        self._key_hints = {row.account_id: row.stream_key_hint for row in rows}
        for expert_id, profile in self._by_id.items():
            if known.get(expert_id) != profile:
                self.on_change(expert_id)

    async def find(self, name: str) -> ExpertProfile | None:
        """One expert by name; whom memory does not know is looked up once in the store.

        The look-up is of that one name, since anybody may ask for names that nobody has.
        """
        profile = self.expert_by_name(name)
        if profile is not None or not EXPERT_NAME.fullmatch(name.lower()):
            return profile
        query = select(experts.c.account_id).where(experts.c.name == name.lower())
        async with self._database.read() as connection:
            exists = (await connection.execute(query)).first() is not None
        if exists:
            await self.load()
        return self.expert_by_name(name)

    async def add(
        self, name: str, password: str | None, details: ExpertDetails
    ) -> tuple[Account, str] | NameTaken:
        """Make the account and its profile at once; gives the stream key, shown this once."""
        key = new_stream_key()
        new = NewAccount("expert", name, password)
        password_hash = await self._accounts.hashed(password)
        try:
            async with self._database.write() as connection:
                account = await self._accounts.insert(connection, new, password_hash)
                await connection.execute(
                    insert(experts).values(
                        account_id=account.account_id,
                        name=name,
                        **_columns(details),
                        **self._key_columns(key),
                    )
                )
        except IntegrityError:
            return NameTaken(name)
        await self.load()
        return account, key

    async def rotate_key(self, expert_id: str) -> str:
        """A new stream key; the old one is refused from now on."""
        key = new_stream_key()
        async with self._database.write() as connection:
            await connection.execute(
                update(experts)
                .where(experts.c.account_id == expert_id)
                .values(**self._key_columns(key))
            )
        await self.load()
        return key

    async def change(self, expert_id: str, details: ExpertDetails) -> None:
        """Replace what the expert may change."""
        async with self._database.write() as connection:
            await connection.execute(
                update(experts).where(experts.c.account_id == expert_id).values(**_columns(details))
            )
        await self.load()

    def experts(self) -> Sequence[ExpertProfile]:
        """Every expert who may broadcast, by name."""
        return tuple(self._by_id.values())

    def expert(self, expert_id: str) -> ExpertProfile | None:
        """One expert by account id."""
        return self._by_id.get(expert_id)

    def expert_by_name(self, name: str) -> ExpertProfile | None:
        """One expert by broadcaster name, whatever the case."""
        return self._by_name.get(name.lower())

    def key_matches(self, expert_id: str, key: str) -> bool:
        """Whether this is the expert's stream key, in constant time."""
        kept = self._key_hashes.get(expert_id, "")
        return hmac.compare_digest(kept, token_hash(key))

    def expert_with_key(self, name: str, key: str) -> ExpertProfile | None:
        """The expert of that name, if this is their stream key."""
        profile = self.expert_by_name(name)
        if profile is None or not self.key_matches(profile.expert_id, key):
            return None
        return profile

    def key_hint(self, expert_id: str) -> str:
        """The last characters of the stream key, to tell an old from a new one."""
        return self._key_hints.get(expert_id, "")

    def _key_columns(self, key: str) -> dict[str, object]:
        return {
            "stream_key_hash": token_hash(key),
            "stream_key_hint": key[-HINT_CHARS:],
            "stream_key_changed_at_ms": utc_ms(self._utc_now()),
        }


def new_stream_key() -> str:
    """A fresh key; the prefix lets log filters and scanners know it."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _columns(details: ExpertDetails) -> dict[str, object]:
    return {
        "display_name": details.display_name,
        "headline": details.headline,
        "about": details.about,
        "categories": list(details.categories),
        "languages": list(details.languages),
        "private_units_per_s": details.tariff.private_units_per_s,
        "cam2cam_units_per_s": details.tariff.cam2cam_units_per_s,
        "two_way_audio_units_per_s": details.tariff.two_way_audio_units_per_s,
        "cam2cam": details.cam2cam,
        "two_way_audio": details.two_way_audio,
    }


def _profile(row: Row[Any]) -> ExpertProfile:
    return ExpertProfile(
        expert_id=row.account_id,
        name=row.name,
        display_name=row.display_name,
        headline=row.headline,
        about=row.about,
        categories=tuple(row.categories),
        languages=tuple(row.languages),
        tariff=Tariff(
            row.private_units_per_s, row.cam2cam_units_per_s, row.two_way_audio_units_per_s
        ),
        cam2cam=row.cam2cam,
        two_way_audio=row.two_way_audio,
    )
