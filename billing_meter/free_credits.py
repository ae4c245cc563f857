"""The 9.99 free credits: once per person, told by their card and their e-mail address.

A claim is written before the provider is asked, so that after a crash the same check goes on. Its
end (grant, premium, and the marks that make it once) is one transaction. The marks are salted
hashes without an account: they outlive it, and tell nobody whose they are.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter import schema
from billing_meter.card_checks import CardCheck, CardChecker, CardFound, CheckResult
from billing_meter.ledger import Posted, PromoGrant
from billing_meter.ledger_rows import insert_missing
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.providers import Declined, Pending, Redirect
from billing_meter.wallet import Wallet, make_premium

FREE_UNITS = 59_940
"""9.99 credits."""
SUBJECT = "free_credits"
DAY_MS = 24 * 60 * 60 * 1_000
DECLINES_PER_DAY_MAX = 5
"""Validating is how stolen cards are tried out; an honest member has fewer cards."""

_C = schema.free_claims.c
_M = schema.free_marks.c

ClaimState = Literal["unavailable", "eligible", "pending", "declined", "granted", "not_eligible"]


@dataclass(frozen=True, slots=True)
class Claim:
    """How it stands with a member's free credits; `failure` is a DeclineReason."""

    state: ClaimState
    failure: str | None = None
    redirect_url: str | None = None
    """The provider's page on which a pending one goes on."""


@dataclass(frozen=True, slots=True)
class TooManyTries:
    """So many cards were declined today that no further one is tried."""


class FreeCredits:
    """`secret` salts the marks and must never change; without a checker nothing is offered."""

    def __init__(self, wallet: Wallet, checker: CardChecker | None, secret: str) -> None:
        self._wallet = wallet
        self._checker = checker
        self._checker_name = "" if checker is None else checker.name
        self._secret = secret.encode()

    @property
    def redirects(self) -> bool:
        """Whether cards are validated on the provider's own page; else with a token."""
        return self._checker is not None and self._checker.redirects

    async def offer(self, member_id: str, email: str | None, *, known: bool = False) -> Claim:
        """What the wallet shows. `known`: the address belongs to somebody who bought before."""
        if self._checker is None:
            return Claim("unavailable")
        async with self._wallet.database.read() as connection:
            return await self._standing(connection, member_id, email, known)

    async def claim(
        self, member_id: str, email: str | None, token: str, *, known: bool = False
    ) -> Claim | TooManyTries:
        """Validate the card and grant. Raises ProviderUnavailable; then the same claim goes on.

        However often and however many at once: one grant, and everybody hears of it.
        """
        if self._checker is None:
            return Claim("unavailable")
        async with self._wallet.ledger.transaction() as transaction:
            begun = await self._begin(transaction, member_id, email, token, known)
        if not isinstance(begun, CardCheck):
            return begun
        return await self.confirm(begun.check_id, await self._checker.check_card(begun))

    async def look(self, check_id: str) -> bool | None:
        """Ask what became of a check, since a webhook says that something did.

        Whether it was still pending; None if it is none of ours. Raises ProviderUnavailable.
        """
        async with self._wallet.database.read() as connection:
            query = sa.select(schema.free_claims).where(_C.claim_id == check_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None or self._checker is None:
            return None
        if row["state"] != "pending":
            return False
        await self.confirm(check_id, await self._checker.check_card(_check(row)))
        return True

    async def confirm(self, check_id: str, result: CheckResult) -> Claim:
        """Take the provider's word, from its answer or after a webhook; the first one counts."""
        try:
            return await self._confirm(check_id, result)
        except IntegrityError:
            # Another process has just written the same mark: now it can be read.
            return await self._confirm(check_id, result)

    async def _confirm(self, check_id: str, result: CheckResult) -> Claim:
        async with self._wallet.ledger.transaction() as transaction:
            query = sa.select(schema.free_claims).where(_C.claim_id == check_id).with_for_update()
            row = (await transaction.connection.execute(query)).mappings().one_or_none()
            if row is None:
                return Claim("not_eligible")
            if row["state"] != "pending":
                return Claim(row["state"], row["failure"])
            match result:
                case Pending():
                    return Claim("pending")
                case Redirect():
                    return await _keep_page(transaction.connection, check_id, result)
                case Declined(reason):
                    ended = Claim("declined", reason.value)
                case CardFound(fingerprint):
                    ended = await self._grant(transaction, row, fingerprint)
            values = {
                "state": ended.state,
                "failure": ended.failure,
                "resolved_at_ms": transaction.at_ms,
            }
            await transaction.connection.execute(
                sa.update(schema.free_claims).where(_C.claim_id == check_id).values(values)
            )
            return ended

    async def _begin(
        self,
        transaction: LedgerTransaction,
        member_id: str,
        email: str | None,
        token: str,
        known: bool,
    ) -> CardCheck | Claim | TooManyTries:
        """Write the claim, or find the one that is under way."""
        connection = transaction.connection
        standing = await self._standing(connection, member_id, email, known)
        if standing.state == "pending":
            query = sa.select(schema.free_claims).where(
                _C.member_id == member_id, _C.state == "pending"
            )
            return _check((await connection.execute(query)).mappings().one())
        if standing.state not in ("eligible", "declined"):
            return standing
        if await self._declined_today(connection, member_id, transaction.at_ms):
            return TooManyTries()
        check = CardCheck(uuid.uuid4().hex, member_id, token, transaction.at_ms)
        claim = {
            "claim_id": check.check_id,
            "member_id": member_id,
            "token": token,
            "email_mark": None if email is None else self._email_mark(email),
            "state": "pending",
            "created_at_ms": transaction.at_ms,
        }
        await connection.execute(sa.insert(schema.free_claims), [claim])
        return check

    async def _standing(
        self, connection: AsyncConnection, member_id: str, email: str | None, known: bool
    ) -> Claim:
        """How it stands: a claim that is under way or ended for good, else whether there may be
        one, with the reason of the last card's refusal."""
        declined = sa.case((_C.state == "declined", 1), else_=0)
        query = (
            sa.select(_C.state, _C.failure, _C.redirect_url, _C.redirect_until_ms)
            .where(_C.member_id == member_id)
            .order_by(declined, _C.created_at_ms.desc())
            .limit(1)
        )
        last = (await connection.execute(query)).one_or_none()
        if last is not None and last.state != "declined":
            open_page = (last.redirect_until_ms or 0) > self._wallet.ledger.now_ms()
            shown = last.redirect_url if last.state == "pending" and open_page else None
            return Claim(last.state, redirect_url=shown)
        purchase = schema.transfers.c
        bought = sa.select(purchase.transfer).where(  # also one that went back since
            purchase.member_id == member_id,
            schema.LINES_OF_THEIR_OWN,
            purchase.kind == "purchase",
        )
        marked = email is not None and await _is_marked(connection, [self._email_mark(email)])
        if known or marked or await connection.scalar(bought.limit(1)) is not None:
            return Claim("not_eligible")
        return Claim("eligible") if last is None else Claim("declined", last.failure)

    async def _declined_today(
        self, connection: AsyncConnection, member_id: str, now_ms: int
    ) -> bool:
        query = sa.select(sa.func.count()).where(
            _C.member_id == member_id, _C.state == "declined", _C.created_at_ms > now_ms - DAY_MS
        )
        return int(await connection.scalar(query) or 0) >= DECLINES_PER_DAY_MAX

    async def _grant(self, transaction: LedgerTransaction, row: sa.RowMapping, found: str) -> Claim:
        member_id: str = row["member_id"]
        marks = {self._mark("card", found): "card"}
        if row["email_mark"] is not None:
            marks[row["email_mark"]] = "email"
        if await _is_marked(transaction.connection, list(marks)):
            return Claim("not_eligible")
        if await self._paid_elsewhere(transaction.connection, member_id, found):
            return Claim("not_eligible")
        rows = [
            {"mark": mark, "kind": kind, "at_ms": transaction.at_ms} for mark, kind in marks.items()
        ]
        await transaction.connection.execute(sa.insert(schema.free_marks), rows)
        request = PromoGrant(f"free-credits:{member_id}", member_id, FREE_UNITS, SUBJECT)
        outcome = await transaction.execute(request)
        if not isinstance(outcome, Posted) or outcome.replayed:
            return Claim("not_eligible")
        if await make_premium(transaction, member_id, purchase=False):
            transaction.after_commit.append(lambda: self._wallet.on_premium(member_id))
        return Claim("granted")

    async def keep_paid_card(self, transaction: LedgerTransaction, fingerprint: str) -> None:
        """Credits were bought with this card: whoever brings it later is not new, for ever."""
        row = {"mark": self._mark("card", fingerprint), "kind": "paid", "at_ms": transaction.at_ms}
        await insert_missing(transaction.connection, schema.free_marks, "mark", row)

    async def _paid_elsewhere(
        self, connection: AsyncConnection, member_id: str, fingerprint: str
    ) -> bool:
        """Whether somebody else's last purchase, before there were marks of it, had this card."""
        cards = schema.cards.c
        query = sa.select(cards.member_id).where(
            cards.provider == self._checker_name,
            cards.fingerprint == fingerprint,
            cards.member_id != member_id,
        )
        return await connection.scalar(query.limit(1)) is not None

    def _email_mark(self, email: str) -> str:
        """Case and +tags do not make another person."""
        local, _, domain = email.casefold().rpartition("@")
        return self._mark("email", f"{local.partition('+')[0]}@{domain}")

    def _mark(self, kind: str, value: str) -> str:
        return hmac.new(self._secret, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()


async def _keep_page(connection: AsyncConnection, check_id: str, page: Redirect) -> Claim:
    await connection.execute(
        sa.update(schema.free_claims)
        .where(_C.claim_id == check_id)
        .values(
            provider_ref=page.reference,
            redirect_url=page.url,
            redirect_until_ms=page.expires_at_ms,
        )
    )
    return Claim("pending", redirect_url=page.url)


def _check(row: sa.RowMapping) -> CardCheck:
    return CardCheck(
        row["claim_id"], row["member_id"], row["token"], row["created_at_ms"], row["provider_ref"]
    )


async def _is_marked(connection: AsyncConnection, marks: list[str]) -> bool:
    query = sa.select(_M.mark).where(_M.mark.in_(marks)).limit(1)
    return await connection.scalar(query) is not None
