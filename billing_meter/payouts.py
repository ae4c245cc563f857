"""Payouts: asked for by experts, decided by staff, sent once, or given back.

The first phase takes the units out of `payable` when the payout is asked for; the second ends it.
Each step is one guarded write in the transaction of its transfer, so a crash leaves a payout either
before a step or after it. What a provider was asked and did not answer is asked again with the
same id, in this run or the next (`send`, `resume`).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from billing_meter import earned_rows, ledger, payout_rows, payout_rules, schema
from billing_meter.iban import iban
from billing_meter.ledger_rows import GuardFailed
from billing_meter.ledger_store import LedgerStore, LedgerTransaction
from billing_meter.meter import NS_PER_S
from billing_meter.payout_providers import (
    PayoutProvider,
    PayoutResult,
    ProviderUnavailable,
    Rejected,
    Sent,
    Transferred,
    Unknown,
)
from billing_meter.payout_rules import MANUAL, Destination, Earned, Payout, PayoutState

KEY_CHARS_MAX: Final = 120
REFERENCE_CHARS_MAX: Final = 120
REASON_CHARS_MAX: Final = 120
LISTED_MAX: Final = 200
LOOK_FIRST_NS: Final = 30 * NS_PER_S
LOOK_MAX_NS: Final = 60 * 60 * NS_PER_S
"""When a payout that is on its way is asked after: soon, then each time after twice as long. Banks
take days, and a provider limits how often it is asked."""
_T = schema.payouts.c

log = logging.getLogger(__name__)

RefusedCode = Literal[
    "key_invalid",
    "key_reused",
    "payout_in_flight",
    "no_destination",
    "exceeds_available",
    "below_minimum",
    "no_payout",
    "wrong_state",
    "not_covered",
    "with_provider",
]


@dataclass(frozen=True, slots=True)
class PayoutRefused:
    """Nothing changed."""

    code: RefusedCode


Outcome = Payout | PayoutRefused


class WrongTransfer(Exception):
    """The provider reports another amount than was approved; nothing was changed."""


class Payouts:
    """Every step of every payout; safe from several processes on one database."""

    def __init__(
        self,
        store: LedgerStore,
        provider: PayoutProvider | None = None,
        *,
        minimum_units: int = payout_rules.MINIMUM_UNITS,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._store = store
        self._clock_ns = clock_ns
        self._provider = provider
        self.minimum_units = minimum_units
        self._looks: dict[str, tuple[int, int]] = {}
        """Payout on its way → when it is asked after next, and how long to wait then (ns)."""

    @property
    def has_provider(self) -> bool:
        """Whether approved payouts are sent by a provider, unless they are to be paid by hand."""
        return self._provider is not None

    # --- the expert -----------------------------------------------------------------------

    async def earned(self, expert_id: str) -> Earned:
        """What the expert's account holds now."""
        async with self._store.database.read() as connection:
            return await earned_rows.read_earned(connection, expert_id, self._store.now_ms())

    async def destination(self, expert_id: str) -> Destination | None:
        """Where the expert is paid to."""
        async with self._store.database.read() as connection:
            return await payout_rows.destination(connection, expert_id)

    async def set_destination(self, expert_id: str, holder: str, typed_iban: str) -> Destination:
        """Keep a bank account; ValueError unless it can be one."""
        name = " ".join(holder.split())
        if not 1 <= len(name) <= payout_rules.HOLDER_CHARS_MAX or not name.isprintable():
            raise ValueError(f"a holder has 1 to {payout_rules.HOLDER_CHARS_MAX} characters")
        chosen = Destination(name, iban(typed_iban))
        async with self._store.database.write() as connection:
            await payout_rows.set_destination(connection, expert_id, chosen, self._store.now_ms())
        return chosen

    async def request(self, expert_id: str, key: str, units: int | None = None) -> Outcome:
        """Hold `units` (down to whole cents; None: all that is available) until staff decides.

        The same key and body give the same payout for ever.
        """
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            return PayoutRefused("key_invalid")
        try:
            async with self._store.transaction() as transaction:
                return await self._request(transaction, expert_id, f"{expert_id}:{key}", units)
        except IntegrityError:  # the index knows of one that is open
            return PayoutRefused("payout_in_flight")
        except GuardFailed:
            return PayoutRefused("exceeds_available")

    async def _request(
        self, transaction: LedgerTransaction, expert_id: str, key: str, units: int | None
    ) -> Outcome:
        connection = transaction.connection
        digest = ledger.request_hash("payout", {"units": units})
        known = await payout_rows.find_by_key(connection, key)
        if known is not None:
            return known[0] if known[1] == digest else PayoutRefused("key_reused")
        if await payout_rows.open_of(connection, expert_id) is not None:
            return PayoutRefused("payout_in_flight")
        destination = await payout_rows.destination(connection, expert_id)
        if destination is None:
            return PayoutRefused("no_destination")
        earned = await earned_rows.read_earned(connection, expert_id, transaction.at_ms)
        wanted = earned.available_units if units is None else units
        if wanted > earned.available_units:
            return PayoutRefused("exceeds_available")
        wanted = payout_rules.whole_minor(wanted)
        if wanted < max(self.minimum_units, payout_rules.UNITS_PER_MINOR):
            return PayoutRefused("below_minimum")
        payout = _new(expert_id, wanted, destination, transaction.at_ms)
        await payout_rows.insert(transaction, payout, key, digest, earned.pending_units)
        return payout

    async def cancel(self, expert_id: str, payout_id: str) -> Outcome:
        """The expert takes a payout back that is not decided yet."""
        mine = _T.expert_id == expert_id
        found = await self.find(payout_id)
        if found is None or found.expert_id != expert_id:
            return PayoutRefused("no_payout")
        return await self._close(payout_id, PayoutState.CANCELLED, "expert", {}, mine)

    async def of_expert(self, expert_id: str, *, limit: int = LISTED_MAX) -> Sequence[Payout]:
        """An expert's payouts, the newest first."""
        async with self._store.database.read() as connection:
            return await payout_rows.of_expert(connection, expert_id, limit)

    # --- staff ----------------------------------------------------------------------------

    async def of_states(self, *states: PayoutState, limit: int = LISTED_MAX) -> Sequence[Payout]:
        """Payouts in these states."""
        async with self._store.database.read() as connection:
            return await payout_rows.of_states(connection, states, limit)

    async def find(self, payout_id: str) -> Payout | None:
        """One payout."""
        async with self._store.database.read() as connection:
            return await payout_rows.find(connection, payout_id)

    async def approve(self, payout_id: str, by: str, *, manual: bool = False) -> Outcome:
        """Let it be paid: by the provider, or by hand (`manual`, or where there is no provider).

        Refused (`not_covered`) when so much was taken back since that the expert would owe. From
        here on the money may leave; a later claw-back is owed by the expert.
        """
        channel = MANUAL if manual or self._provider is None else self._provider.name
        async with self._store.transaction() as transaction:
            payout = await payout_rows.find(transaction.connection, payout_id)
            if payout is None:
                return PayoutRefused("no_payout")
            earned = await earned_rows.read_earned(
                transaction.connection, payout.expert_id, transaction.at_ms
            )
            if payout.state is PayoutState.REQUESTED and earned.owed_units:
                return PayoutRefused("not_covered")
            values = {"channel": channel, "decided_at_ms": transaction.at_ms, "decided_by": by}
            moved = await payout_rows.step(transaction, payout_id, PayoutState.APPROVED, values)
        return moved or PayoutRefused("wrong_state")

    async def deny(self, payout_id: str, by: str, reason: str = "") -> Outcome:
        """Give it back, undecided ones only."""
        values = {"decided_by": by, "failure": _reason(reason) if reason.strip() else None}
        return await self._close(payout_id, PayoutState.DENIED, by, values)

    async def paid(self, payout_id: str, reference: str, by: str) -> Outcome:
        """Staff paid an approved one by bank transfer; `reference` is the bank's.

        The same reference again gives the same payout. ValueError for an unusable reference.
        """
        if not 1 <= len(reference) <= REFERENCE_CHARS_MAX:
            raise ValueError(f"a reference has 1 to {REFERENCE_CHARS_MAX} characters")
        outcome = await self._by_hand(payout_id, PayoutState.PAID, by, {"reference": reference})
        if isinstance(outcome, PayoutRefused) and outcome.code == "wrong_state":
            found = await self.find(payout_id)
            if found is not None and (found.state, found.reference) == (
                PayoutState.PAID,
                reference,
            ):
                return found
        return outcome

    async def failed(self, payout_id: str, reason: str, by: str) -> Outcome:
        """Staff could not pay an approved one; it is given back."""
        return await self._by_hand(payout_id, PayoutState.FAILED, by, {"failure": _reason(reason)})

    async def returned(self, payout_id: str, reason: str, by: str) -> Outcome:
        """The bank sent a paid one back: the expert has it to be paid out anew."""
        async with self._store.transaction() as transaction:
            values = {
                "returned_at_ms": transaction.at_ms,
                "returned_by": by,
                "failure": _reason(reason),
            }
            moved = await payout_rows.step(transaction, payout_id, PayoutState.RETURNED, values)
        return await self._moved(moved, payout_id)

    def by_hand(self, payout: Payout) -> bool:
        """Whether staff ends it: a bank transfer, or left behind by a provider of former times."""
        return payout.channel is not None and (
            self._provider is None or payout.channel != self._provider.name
        )

    async def _by_hand(
        self, payout_id: str, state: PayoutState, by: str, values: dict[str, Any]
    ) -> Outcome:
        found = await self.find(payout_id)
        if found is None:
            return PayoutRefused("no_payout")
        if found.channel is not None and not self.by_hand(found):
            return PayoutRefused("with_provider")
        return await self._close(payout_id, state, by, values, _T.channel == found.channel)

    async def _close(
        self,
        payout_id: str,
        state: PayoutState,
        by: str,
        values: dict[str, Any],
        *conditions: sa.ColumnElement[bool],
    ) -> Outcome:
        async with self._store.transaction() as transaction:
            at_ms = transaction.at_ms
            told = {"closed_at_ms": at_ms, "closed_by": by} | values
            if state in (PayoutState.DENIED, PayoutState.CANCELLED):
                told["decided_at_ms"] = at_ms
            moved = await payout_rows.step(transaction, payout_id, state, told, *conditions)
        return await self._moved(moved, payout_id)

    async def _moved(self, moved: Payout | None, payout_id: str) -> Outcome:
        if moved is not None:
            return moved
        known = await self.find(payout_id)
        return PayoutRefused("no_payout" if known is None else "wrong_state")

    # --- the provider ---------------------------------------------------------------------

    async def send(self, payout_id: str) -> Payout | None:
        """Ask the provider for an approved payout, or what became of it, and take its answer.

        It may have been asked before a crash, so it is looked up first. Without an answer the
        payout stays as it is and is asked after again (`resume`).
        """
        payout, provider = await self.find(payout_id), self._provider
        if payout is None or provider is None or payout.channel != provider.name:
            return payout
        if payout.state is not PayoutState.APPROVED:
            return payout
        try:
            result = await provider.lookup(payout)
            if isinstance(result, Unknown):
                result = await provider.send(payout)
            return await self.confirm(payout_id, result)
        except ProviderUnavailable:
            log.warning("the payout provider did not answer for payout %s", payout_id)
        except WrongTransfer as wrong:
            log.error("payout %s was not closed: %s", payout_id, wrong)
        return payout

    async def resume(self) -> int:
        """Ask after every payout that is on its way and due; how many are left."""
        if self._provider is None:
            return 0
        async with self._store.database.read() as connection:
            pending = await payout_rows.with_provider(connection, self._provider.name)
        now_ns, known = self._clock_ns(), self._looks
        self._looks = {
            one.payout_id: known.get(one.payout_id, (now_ns, LOOK_FIRST_NS)) for one in pending
        }
        left = 0
        for payout_id, (at_ns, wait_ns) in list(self._looks.items()):
            if at_ns > now_ns:
                left += 1
                continue
            self._looks[payout_id] = (now_ns + wait_ns, min(wait_ns * 2, LOOK_MAX_NS))
            payout = await self.send(payout_id)
            left += payout is not None and payout.state is PayoutState.APPROVED
        return left

    async def close(self) -> None:
        """Close the provider's connections; what is on its way is resumed by the next start."""
        if self._provider is not None:
            await self._provider.close()

    async def confirm(self, payout_id: str, result: PayoutResult) -> Payout | None:
        """Take a provider's word. Any number of times counts once; raises WrongTransfer."""
        assert self._provider is not None
        name = self._provider.name
        async with self._store.transaction() as transaction:
            payout = await payout_rows.find(transaction.connection, payout_id)
            if payout is None:
                return None
            closed: dict[str, Any] = {"closed_at_ms": transaction.at_ms, "closed_by": name}
            match result:
                case Sent(reference):
                    await payout_rows.keep_reference(transaction.connection, payout_id, reference)
                    return payout
                case Transferred(reference, amount_minor):
                    if amount_minor not in (None, payout.amount_minor):
                        raise WrongTransfer(f"{amount_minor} instead of {payout.amount_minor}")
                    state, closed["reference"] = PayoutState.PAID, reference
                case Rejected(reason):
                    state, closed["failure"] = PayoutState.FAILED, reason[:REASON_CHARS_MAX]
            mine = _T.channel == name
            moved = await payout_rows.step(transaction, payout_id, state, closed, mine)
        if moved is None and PayoutState.PAID in (state, payout.state) and state != payout.state:
            log.error(
                "payout %s is %s here, and the provider says %s", payout_id, payout.state, state
            )
        return moved or payout


def _new(expert_id: str, units: int, destination: Destination, at_ms: int) -> Payout:
    return Payout(
        payout_id=uuid.uuid4().hex,
        expert_id=expert_id,
        state=PayoutState.REQUESTED,
        units=units,
        amount_minor=payout_rules.amount_minor(units),
        currency=payout_rules.CURRENCY,
        holder=destination.holder,
        iban=destination.iban,
        channel=None,
        reference=None,
        failure=None,
        requested_at_ms=at_ms,
        decided_at_ms=None,
        decided_by=None,
        closed_at_ms=None,
        closed_by=None,
        returned_at_ms=None,
        returned_by=None,
    )


def _reason(text: str) -> str:
    """ValueError unless there is one."""
    if not 1 <= len(text.strip()) <= REASON_CHARS_MAX:
        raise ValueError(f"a reason has 1 to {REASON_CHARS_MAX} characters")
    return text.strip()
