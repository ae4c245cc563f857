"""The judge: an accountant beside the house, who compares the books with what really happened.

Cheap checks after every step, the product's own proofs every so often and at the end. What should
be in the books is counted here from the packets, the answers that people got, and the bank.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from billing_meter.features import Feature
from billing_meter.group_watch import GroupWatch
from billing_meter.groups import Groups
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import (
    HELD_WINDOW_NS,
    Exhausted,
    LedgerLost,
    LowBalance,
    Paused,
    Resumed,
    SpendLimit,
    Started,
    Ticked,
)
from billing_meter.order_store import OrderState
from billing_meter.orders import Orders
from billing_meter.payout_rules import PayoutState
from billing_meter.payouts import Payouts
from billing_meter.providers import FakeProvider
from billing_meter.purchases import Purchases
from billing_meter.seals import seal
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, statement, verify
from billing_meter.sweeper import Sweeper
from billing_meter.tariff import Component
from billing_meter.wallet import Wallet
from tests.billing_meter.sim import percents
from tests.billing_meter.sim.oracle import Life
from tests.billing_meter.sim.shelf import ACCESS, PURCHASES, replay
from tests.billing_meter.sim.shows import GROUPS, Show
from tests.billing_meter.sim.store import Point, PointedDatabase
from tests.billing_meter.sim.world import Process, World

ACCOUNTS = sa.text("SELECT account, units FROM ledger_accounts")
OPEN_HOLDS = sa.text(
    "SELECT hold_id, member_id, posted_units, promo_units + paid_units AS rest_units"
    " FROM ledger_holds WHERE state = 'open'"
)
SURCHARGES = (Component.CAM2CAM, Component.TWO_WAY_AUDIO)
BY_MESSAGES = sa.text(
    "SELECT SUM(p.units) FROM ledger_postings p JOIN ledger_transfers t ON t.transfer = p.transfer"
    " WHERE t.kind = 'message' AND p.account LIKE 'expert:%'"
)
BY_REPLIES = sa.text(
    "SELECT SUM(p.units) FROM ledger_postings p JOIN ledger_transfers t ON t.transfer = p.transfer"
    " LEFT JOIN ledger_transfers o ON o.transfer = t.reverses"
    " WHERE 'message_reply' IN (t.kind, o.kind) AND p.account LIKE 'expert:%'"
)
DEBITS = sa.text(
    "SELECT t.kind, t.units, t.expert_id, COALESCE(p.units, 0) AS earned FROM ledger_transfers t"
    " LEFT JOIN ledger_postings p ON p.transfer = t.transfer AND p.account LIKE 'expert:%'"
    " WHERE t.kind IN ('surprise', 'story', 'content', 'group_session', 'group')"
    " AND t.outcome = 'posted'"
)
OF_SESSION = sa.text(
    "SELECT SUM(p.units) FROM ledger_postings p JOIN ledger_transfers t ON t.transfer = p.transfer"
    " WHERE t.kind = 'session_charge' AND t.subject = :subject AND p.account LIKE 'expert:%'"
)
FEATURES = sa.text(
    "SELECT feature AS name, COUNT(*) AS found FROM feature_purchases GROUP BY feature"
    " UNION ALL SELECT 'given back', COUNT(*) FROM feature_purchases"
    " WHERE refunded_units = units"
    " UNION ALL SELECT 'given back in part', COUNT(*) FROM feature_purchases"
    " WHERE refunded_units < units"
    " UNION ALL SELECT 'replies', COUNT(*) FROM feature_purchases WHERE replied_at_ms > 0"
    " UNION ALL SELECT 'groups ' || state, COUNT(*) FROM group_sessions GROUP BY state"
    " UNION ALL SELECT 'pledges', COUNT(*) FROM group_pledges ORDER BY name"
)
LETTERS = sa.text("SELECT event_id FROM outbox WHERE kind = 'letter'")
SILENT_NS = 15_000_000_000
"""A loop that stands still for long enough has lost its groups, as it has its sessions."""
DAY_MS = 24 * 60 * 60 * 1_000
RELOADS_A_DAY = 3
DEAD_OWNER = "server_stopped"
PENDING = (OrderState.CREATED, OrderState.AUTHORIZED)


class Calm:
    """Nothing ever happens."""

    async def at(self, point: Point) -> None:
        """Passed."""


@dataclass
class Ended:
    """A session that is over."""

    member: str
    units: int


@dataclass
class Ceiling:
    """What a member's own limit lets them spend this day."""

    limit: int
    units: int | None
    """The limit, or what was spent and set aside before it was this low."""


@dataclass
class Book:
    """What people know from the answers that they got; units by member."""

    added: Counter[str] = field(default_factory=Counter)
    """Gifts and imports."""
    spent: Counter[str] = field(default_factory=Counter)
    """At once, and out of pledges."""
    charged: Counter[str] = field(default_factory=Counter)
    """By sessions that ended."""
    back: Counter[str] = field(default_factory=Counter)
    """Of sessions, by staff."""
    ended: dict[str, Ended] = field(default_factory=dict)
    ceilings: dict[str, Ceiling] = field(default_factory=dict)


@dataclass
class Judge:
    """Call `step` after every step; `prove` now and then; `last_word` at the end."""

    world: World
    database: PointedDatabase
    book: Book = field(default_factory=Book)
    sessions: int = 0
    """How many really ran and ended."""
    exact: int = 0
    """Of those, how many had to agree to the second."""

    shows: dict[str, Show] = field(default_factory=dict)
    bought: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Transfer → (member, units) of purchases that nobody asked back."""
    letters: set[str] = field(default_factory=set)
    """Messages whose senders heard that they were sent."""
    sent: dict[int, int] = field(default_factory=dict)
    """Transfer → units of every message that was sent."""
    sent_to: dict[int, str] = field(default_factory=dict)
    """Their experts."""
    replied: dict[int, int] = field(default_factory=dict)
    """Those of them that were answered: what they cost at that time."""
    undone: dict[int, int] = field(default_factory=dict)
    """Transfer → units that staff gave back of a purchase."""
    taken_back: int = 0
    """What experts had of replies, and what went back of it."""
    day: int = 0
    """The latest calendar day that was reached."""
    spent_before: Counter[str] = field(default_factory=Counter)
    """What members had spent when it began."""

    def __post_init__(self) -> None:
        utc = self.world.clock.utc
        self.wallet = Wallet(self.database, utc_now=utc)
        self.orders = Orders(self.database, self.wallet, FakeProvider(), utc_now=utc)
        self.payouts = Payouts(self.wallet.ledger)
        self.purchases = Purchases(self.wallet)
        store, clock_ns = LedgerStore(self.database, utc_now=utc), self.world.clock.ns
        self.sweeper = Sweeper(store, node="other", clock_ns=clock_ns)
        self.group_watch = GroupWatch(
            store,
            Groups(store, node="other"),
            node="other",
            clock_ns=clock_ns,
            supervision_ns=SILENT_NS,
        )

    # --- after every step -------------------------------------------------------------------

    async def step(self) -> None:
        """Everything that can be told from two small queries and the people's own records."""
        self.hear()
        accounts, holds = await self._look()
        await self._groups(holds)
        assert sum(accounts.values()) == 0, "the books do not balance"
        held: defaultdict[str, int] = defaultdict(int)
        for hold in holds.values():
            held[hold.member_id] += hold.rest_units
        for account, units in accounts.items():
            owes = account.endswith(":debt")
            may = account.startswith("platform:") or account.endswith(":payable")
            assert (units <= 0) if owes else (units >= 0 or may), account
            if account.endswith(":held"):
                assert units == held[account.split(":")[1]], f"{account} is not what is held"
        for session_id, life in list(self.world.lives.items()):
            hold = holds.get(session_id)
            if hold is None:
                await self.ended(life)
            else:
                self._covered(life, hold)
        self._earned(accounts, holds)
        self._within_limits(holds, held)

    async def _groups(self, holds: dict[str, Any]) -> None:
        """Every group that people know of is as they know it."""
        going = [show for show in self.shows.values() if not show.over]
        if not going:
            return
        async with self.database.read() as connection:
            rows = {row.group_id: row for row in await connection.execute(GROUPS)}
        for show in going:
            show.seen(rows[show.name], holds)

    async def _look(self) -> tuple[dict[str, int], dict[str, Any]]:
        async with self.database.read() as connection:
            accounts = {row[0]: row[1] for row in await connection.execute(ACCOUNTS)}
            holds = {row.hold_id: row for row in await connection.execute(OPEN_HOLDS)}
        return accounts, holds

    def hear(self) -> None:
        """What the meter told people since."""
        for session_id, event in self.world.events:
            life = self.world.lives.get(session_id)
            if life is None:
                continue
            assert not life.told_end, f"{session_id} had ended, then {event}"
            match event:
                case Exhausted() | SpendLimit() | LedgerLost():
                    life.cut_by_meter = life.told_end = True
                case Started():
                    assert not life.told_started, "started twice"
                    life.told_started = True
                case Paused():
                    assert life.told_started, "paused before it began"
                    assert not life.told_paused, "paused twice"
                    life.told_paused = True
                case Resumed():
                    assert life.told_paused, "resumed while it ran"
                    life.told_paused = False
                case LowBalance():
                    assert life.told_started, "low on credits, and not begun"
                case Ticked(snapshot):
                    assert life.told_started or not snapshot.cost_units, "charged, and not begun"
                    still = life.told_paused or not life.told_started
                    assert snapshot.paused is still, "told two things at once"
                    assert snapshot.cost_units >= life.told_units, "a told cost went down"
                    passed = life.cost_units(rounded=True)
                    assert snapshot.cost_units <= passed, "told more than passed"
                    assert snapshot.balance_units >= 0
                    life.told_units = snapshot.cost_units
        self.world.events.clear()

    def told_true(self, process: Process) -> None:
        """Right after a beat people know of every session whether media flows."""
        self.hear()
        now_ns = self.world.clock.now_ns
        for name, life in self.world.lives.items():
            seat = process.till._register.get(name)
            if seat is None or not seat.running():
                continue
            spans = life.spans(Component.PRIVATE)
            assert life.told_started is bool(spans), f"{name}: started is {life.told_started}"
            flows = bool(spans) and now_ns - spans[-1][1] < HELD_WINDOW_NS
            assert flows or life.told_paused or not spans, f"{name} is silent, and runs"
            assert not (flows and life.told_paused), f"{name} runs, and is told to be paused"

    def _covered(self, life: Life, hold: Any) -> None:
        """Every second that passed, or still may, is paid out of what is durably set aside."""
        granted = hold.posted_units + hold.rest_units
        name = life.order.session_id
        cost = life.cost_units()
        for component in SURCHARGES:
            if not life.is_on(component):
                assert not life.open_for(component), f"{name}: {component} open, and nobody pays"
        until_ns = life.open_until_ns
        most = life.cost_units(until_ns) if until_ns > self.world.clock.now_ns else cost
        passed = life.cost_units(rounded=True) if life.cut_by_meter else cost
        assert life.told_started or not hold.posted_units, f"{name}: charged, and not begun"
        assert hold.posted_units <= passed, f"{name}: {hold.posted_units} posted, {passed} passed"
        paid = granted + life.hindsight_units
        assert cost <= paid, f"{name}: media for {cost} units passed, {granted} were set aside"
        assert most <= paid, f"{name}: open for {most} units, {granted} are set aside"
        life.short |= most > granted

    async def ended(self, life: Life) -> None:
        """A session whose hold is gone: its charge is the oracle's, to the second."""
        name, member = life.order.session_id, life.order.member_id
        del self.world.lives[name]
        record = await session_record(self.database, name)
        if record is None:
            assert not life.seated, f"{name} was open, and nobody knows it"
            return
        assert not record.open, f"{name} is open without a hold"
        assert life.open_until_ns <= self.world.clock.now_ns, f"{name} is over, its gate open"
        wanted = life.seconds()
        got = {line.component: line.seconds for line in record.summary.lines}
        units = record.summary.cost_units
        assert life.told_units <= units, f"{name}: an acknowledged second was lost"
        most, why = life.seconds(rounded=True), f"{name} ({record.summary.reason})"
        assert all(got[c] <= most[c] for c in Component), f"{why}: {got}, passed {most}"
        assert units == sum(life.order.tariff.rate(c) * got[c] for c in Component)
        if life.short:
            least_units = life.cost_units() - life.hindsight_units
            assert record.summary.reason == DEAD_OWNER or units >= least_units, f"{why}: {got}"
        elif record.summary.reason != DEAD_OWNER and life.told_started:
            assert all(got[c] >= wanted[c] for c in Component), f"{why}: {got}, passed {wanted}"
            self.exact += wanted == most
        by_component = {line.component: line.units for line in record.summary.lines}
        earned = percents.of_session(life.order.expert_id, by_component)
        assert record.summary.earned_units == earned, f"{why}: {record.summary} earned {earned}"
        assert await self._posted_to_expert(name) == earned, f"{why}: posted otherwise"
        if not life.told_started:
            assert units == 0, f"{why}: {units} units for a session that nobody was told to run"
        limit = life.order.spend_limit_units
        assert limit is None or units <= limit, f"{name} cost more than its limit"
        self.sessions += life.seated
        self.book.charged[member] += units
        self.book.ended[name] = Ended(member, units)

    async def _posted_to_expert(self, name: str) -> int:
        async with self.database.read() as connection:
            return int(await connection.scalar(OF_SESSION, {"subject": f"session:{name}"}) or 0)

    def _spent(self, holds: dict[str, Any]) -> Counter[str]:
        """What each member has spent so far; nothing that came back is taken off."""
        spent = self.book.spent + self.book.charged
        for show in self.shows.values():
            spent += show.spent()
        for hold in holds.values():
            spent[hold.member_id] += hold.posted_units
        return spent

    def _back(self) -> Counter[str]:
        """What staff gave back of sessions and purchases, and what groups did not show."""
        back = Counter(self.book.back)
        for show in self.shows.values():
            back += show.back()
        return back

    def _earned(self, accounts: dict[str, int], holds: dict[str, Any]) -> None:
        """Experts and the platform have what members spent, less what came back, to the unit."""
        earned = accounts["platform:revenue"] + accounts["platform:payout_clearing"]
        earned += sum(n for account, n in accounts.items() if account.startswith("expert:"))
        wanted = self._spent(holds).total() - self._back().total()
        assert earned == wanted, f"{earned} units earned, {wanted} spent"

    def _within_limits(self, holds: dict[str, Any], held: dict[str, int]) -> None:
        spent = self._spent(holds)
        today = self.world.clock.now_ms() // DAY_MS
        if today > self.day:
            self.day, self.spent_before = today, spent
            for member, ceiling in self.book.ceilings.items():
                ceiling.units = max(ceiling.limit, held[member])
        for member, ceiling in self.book.ceilings.items():
            used = spent[member] + held[member] - self.spent_before[member]
            if ceiling.units is None:
                ceiling.units = max(ceiling.limit, used)
            assert used <= ceiling.units, f"{member} used {used} of {ceiling.units} a day"

    def limited(self, member: str, limit: int) -> None:
        """A member's limit of the day is now this; what is set aside already stays."""
        self.book.ceilings[member] = Ceiling(limit, None)

    # --- now and then -----------------------------------------------------------------------

    async def prove(self, members: tuple[str, ...]) -> None:
        """The product's own proofs, and each member's credits against their own records."""
        assert (await verify(self.database)).findings == ()
        assert (await reconcile(self.database)).findings == ()
        accounts, holds = await self._look()
        spent, back = self._spent(holds), self._back()
        await self._shelves(members)
        for member in members:
            orders = await self.orders.list(member, limit=1_000)
            kept = sum(
                order.credits_units - order.refunded_units
                for order in orders
                if order.transfer is not None
            )
            names = ("paid", "promo", "held", "debt")
            have = sum(accounts.get(f"member:{member}:{name}", 0) for name in names)
            book = self.book
            wanted = book.added[member] + kept + back[member] - spent[member]
            assert have == wanted, f"{member} has {have}, by their own records {wanted}"
            self._reloads(orders)

    async def _shelves(self, members: tuple[str, ...]) -> None:
        """Who may see what, by an independent count; every message is there, and no other."""
        async with self.database.read() as connection:
            rows = list(await connection.execute(PURCHASES))
            given = {row.transfer: (row[1], row[2]) for row in await connection.execute(ACCESS)}
            letters = set(await connection.scalars(LETTERS))
            by_replies = int(await connection.scalar(BY_REPLIES) or 0)
            by_messages = int(await connection.scalar(BY_MESSAGES) or 0)
            debits = list(await connection.execute(DEBITS))
        for row in debits:
            due = percents.of_debit(row.expert_id, percents.OF_KIND[row.kind], row.units)
            assert row.earned == due, f"{row.kind} of {row.units}: earned {row.earned}, not {due}"
        assert letters == self.letters, "a message was stored unpaid, or paid and lost"
        by_them = sum(self.share(one) for one in self.replied) - self.taken_back
        assert by_messages == 0, "a message was earned before its reply"
        assert by_replies == by_them, "replies earned otherwise"
        wanted = replay(rows)
        assert given == wanted, "somebody has other days than were paid"
        standing = {row.transfer for row in rows if row.refund_transfer is None}
        assert standing == self.bought.keys(), "a purchase that nobody made, or one that is gone"
        now_ms, experts = self.world.clock.now_ms(), ("eve", "gus")
        for member in members:
            told = await self.purchases.until(member, Feature.STORY, experts, now_ms)
            mine = {
                row.object_id
                for row in rows
                if (row.member_id, row.feature) == (member, "story")
                and wanted[row.transfer][0] <= now_ms < wanted[row.transfer][1]
            }
            assert set(told) == mine, f"{member} may see stories of {set(told)}, paid for {mine}"

    def share(self, transfer: int) -> int:
        """What an expert earned by answering this message."""
        return percents.of_debit(self.sent_to[transfer], "message", self.replied[transfer])

    def _reloads(self, orders: Any) -> None:
        reloads = [order for order in orders if order.origin == "auto_reload"]
        assert sum(order.state in PENDING for order in reloads) <= 1, "two reloads at once"
        a_day = Counter(order.created_at_ms // DAY_MS for order in reloads)
        assert max(a_day.values(), default=0) <= RELOADS_A_DAY, f"reloads by day: {a_day}"

    async def last_word(self, members: tuple[str, ...]) -> None:
        """After everybody left and every payment ended."""
        await self.prove(members)
        assert not self.world.lives, f"still open: {sorted(self.world.lives)}"
        by_order: defaultdict[str, int] = defaultdict(int)
        for payment in self.world.bank.payments.values():
            by_order[payment.charge.order_id] += payment.kept_units
        for member in members:
            for order in await self.orders.list(member, limit=1_000):
                kept = 0 if order.transfer is None else order.credits_units - order.refunded_units
                told = by_order.pop(order.order_id, 0)
                assert kept == told, f"order {order.order_id}: {kept} credited, {told} paid for"
            balance = await self.wallet.balance(member)
            made = await statement(self.database, member, 0, 2**53)
            assert made.findings == ()
            assert balance.held_units == 0, f"{member} still has {balance.held_units} held"
            assert made.closing_units == balance.posted, member
        assert not by_order, f"money for no order: {by_order}"
        paid = await self.payouts.of_states(PayoutState.PAID, limit=1_000)
        sent = {payout.payout_id: payout.units for payout in self.world.payer.sent}
        assert {one.payout_id: one.units for one in paid} == sent
        assert len(sent) == len(self.world.payer.sent), "sent twice"
        accounts, _ = await self._look()
        assert accounts["platform:payout_clearing"] == sum(sent.values())

    async def features(self) -> dict[str, int]:
        """What there was beside sessions."""
        async with self.database.read() as connection:
            return {row[0]: int(row[1]) for row in await connection.execute(FEATURES)}

    async def digest(self) -> str:
        """The last seal: the hash of every transfer, with its postings."""
        await seal(self.database, 0)
        async with self.database.read() as connection:
            query = sa.text("SELECT digest FROM ledger_seals ORDER BY seal DESC LIMIT 1")
            return str(await connection.scalar(query))
