"""A scripted life of the money in scenes, each of which can be stopped at any one of its points.

A scene begins where the one before it ended, with nothing but the store, the clock and the bank.
Its people insist with the same keys, as clients do, until they have their answers.
"""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from billing_meter import promotion_store, schema, share_rows
from billing_meter.features import Buy, Feature
from billing_meter.free_credits import Claim
from billing_meter.group_rules import GroupTerms
from billing_meter.ledger import Debit, Hold, PostHold, VoidHold
from billing_meter.limits import Span
from billing_meter.meter import SessionOrder
from billing_meter.payout_providers import FakePayoutProvider
from billing_meter.promotions import Promotion
from billing_meter.seals import seal
from billing_meter.shares import Source
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from tests.billing_meter.sim.bank import Bank, Payment
from tests.billing_meter.sim.features import letter
from tests.billing_meter.sim.judge import Calm, Judge
from tests.billing_meter.sim.moves import Moves, one_try
from tests.billing_meter.sim.oracle import Life
from tests.billing_meter.sim.percents import SHARES
from tests.billing_meter.sim.store import Killed, Point, PointedDatabase, SimStore
from tests.billing_meter.sim.world import Clock, Points, Process, World

WRITES = frozenset(Point) - {Point.READ}
"""Before anything is asked, before each statement, before the commit, before its answer."""
COMMITS = frozenset({Point.DURABLE})
"""After each commit, before anybody has been told."""
EARNED_BY_SESSIONS = sa.text(
    "SELECT SUM(p.units) FROM ledger_postings p JOIN ledger_transfers t ON t.transfer = p.transfer"
    " WHERE t.kind = 'session_charge' AND p.account LIKE 'expert:%'"
)
IBAN = "NO93 8601 1117 947"
Scene = Callable[["Play"], Awaitable[None]]


class Countdown(Points):
    """Counts the points of a scene, and kills the process at one of them."""

    async def at(self, point: Point) -> None:
        if self.dead:
            raise Killed
        world = self._world
        assert isinstance(world, Stage)
        if point in world.counted:
            world.count += 1
            if world.count == world.kill_at:
                self.kill()
                raise Killed


@dataclass
class Stage(World):
    """A world in which nothing is left to chance."""

    counted: frozenset[Point] = WRITES
    count: int = 0
    kill_at: int = 0
    """The process dies before this point; 0: never."""

    def new_points(self) -> Points:
        return Countdown(self)

    async def recover_groups(self, process: Process) -> None:
        """Not by itself: a scene says when a group's owner counts as dead."""


@dataclass(frozen=True)
class Props:
    """What outlives every process."""

    store: SimStore
    clock: Clock
    bank: Bank
    payer: FakePayoutProvider

    async def copy(self, name: str) -> Props:
        """The same once more, to be used up."""
        rest = copy.deepcopy((self.clock, self.bank, self.payer))
        return Props(await self.store.copy(name), *rest)


@dataclass(frozen=True)
class Books:
    """What a scene left behind, without names that are drawn anew."""

    rows: dict[str, list[tuple[Any, ...]]]
    points: int


class Play:
    """The people of a scene."""

    def __init__(self, stage: Stage, judge: Judge) -> None:
        self.stage = stage
        self.judge = judge
        self.moves = Moves(stage, judge)
        self.ask = stage.insist

    async def seconds(self, process: Process, count: int) -> None:
        """Time passes, with four beats and a tick each second."""
        for _ in range(count):
            if process.points.dead:
                return
            for _ in range(4):
                self.stage.clock.advance(0.25)
                process.till.beat()
            await one_try(process, process.till.tick())

    async def bought(self, key: str, package: str) -> str:
        """An order that is paid."""
        order = await self.ask(lambda p: p.orders.create("ann", package, "card", key))
        await self.ask(lambda p: p.orders.pay("ann", order.order_id, "tok_any"))
        return str(order.order_id)

    async def events(self) -> None:
        """Every event of the bank arrives."""
        for event in list(self.stage.bank.events):
            await self.moves.take(event)
        self.stage.bank.events.clear()


async def arrive(play: Play) -> None:
    """Members and experts get their accounts."""
    await play.ask(lambda p: p.wallet.open_member("ann"))
    wanted = SHARES["eve"]
    await play.ask(lambda p: p.wallet.open_expert("eve", replace(wanted, cam2cam=60)))
    now = ("eve", (Source.CAM2CAM,), wanted.cam2cam, 0, "staff")

    async def change(process: Process) -> None:
        async with process.database.write() as connection:
            assert await share_rows.change(connection, *now) == wanted

    await play.ask(change)
    await play.ask(lambda p: p.wallet.credit_purchase("ann", 60_000, "import", "import"))


async def buy(play: Play) -> None:
    """A promotion, an order at its price, the payment, its webhooks twice, free credits refused."""
    now_ms = play.stage.clock.now_ms()
    sale = Promotion("sale", 33, now_ms, now_ms + 60_000)

    async def promote(process: Process) -> None:
        async with process.wallet.ledger.transaction() as transaction:
            if not await promotion_store.current(transaction.connection, now_ms):
                await promotion_store.add(transaction.connection, sale, now_ms)

    await play.ask(promote)
    events = play.stage.bank.events
    await play.bought("first", "credits-99")
    for event in [*events, *events]:
        await play.moves.take(event)
    events.clear()
    claim = await play.ask(lambda p: p.free.claim("ann", "ann@x.test", "tok_a"))
    assert isinstance(claim, Claim)
    assert claim.state == "not_eligible"


async def gifts(play: Play) -> None:
    """A gift, and free credits for somebody new."""
    await play.ask(lambda p: p.wallet.grant_promo("ann", 9_000, "gift", "gift"))
    await play.ask(lambda p: p.wallet.open_member("bob"))
    claim = await play.ask(lambda p: p.free.claim("bob", "bob@x.test", "tok_b"))
    assert isinstance(claim, Claim)
    assert claim.state == "granted"


async def limits(play: Play) -> None:
    """Limits for a day and a session; one is lowered."""
    await play.ask(lambda p: p.limits.set_limit("ann", Span.DAY, 900_000))
    await play.ask(lambda p: p.limits.set_limit("ann", Span.DAY, 800_000))
    await play.ask(lambda p: p.limits.set_limit("ann", Span.SESSION, 90_000))


async def session(play: Play) -> None:
    """Cam2Cam from the start, two-way audio in between, a tip, renewals; then the member leaves."""
    stage, clock = play.stage, play.stage.clock
    wanted = frozenset({Component.CAM2CAM})
    order = SessionOrder("s1", "ann", "eve", Tariff(1_299, 100, 50), None, wanted)
    life = stage.lives["s1"] = Life(order)
    process = await stage.alive()
    opened = await one_try(process, process.till.open(order))
    if opened is not None and not process.points.dead:
        life.seated = True
        life.switch(Component.CAM2CAM, True, clock.now_ns)
        for component in Component:
            play.moves.attach(process, life, component)
        await play.seconds(process, 3)
        on = await one_try(process, process.till.switch("s1", Component.TWO_WAY_AUDIO, True))
        if on is not None:
            life.switch(Component.TWO_WAY_AUDIO, True, clock.now_ns)
        await play.seconds(process, 2)
    await play.ask(lambda p: p.wallet.counter.debit(Debit("tip", "ann", "eve", 7_001, "tip", "t")))
    if not process.points.dead:
        life.switch(Component.CAM2CAM, False, clock.now_ns)
        await one_try(process, process.till.switch("s1", Component.CAM2CAM, False))
        await play.seconds(process, 3)
    if life.seated:
        await play.ask(lambda p: p.till.close("s1", "member_left"))


async def tips(play: Play) -> None:
    """A debit, and pledges that are posted, withdrawn and forgotten."""
    gone_ms = play.stage.clock.now_ms() + 1_000
    for request in (
        Debit("surprise", "ann", "eve", 5_999, "surprise", "rose"),
        Hold("h1", "ann", "g1", 8_000, "group"),
        Hold("h2", "ann", "g2", 8_000, "group"),
        Hold("h3", "ann", "g3", 8_000, "group", gone_ms),
        PostHold("p1", "g1", "eve", 5_001, "group", "group"),
        VoidHold("v1", "g2", "group"),
    ):
        await play.ask(lambda p, request=request: p.wallet.ledger.execute(request))
    play.stage.clock.advance(2)
    await play.ask(lambda p: p.wallet.ledger.expire_holds())


async def features(play: Play) -> None:
    """A surprise, two passes of which the first goes back, content that is refused the second time,
    a message with its row that is answered and goes back, content that nobody can pay."""
    back: list[int] = []
    for key, feature, thing, units in (
        ("rose", Feature.SURPRISE, "rose", 4_001),
        ("story-1", Feature.STORY, "eve", 3_001),
        ("story-2", Feature.STORY, "eve", 3_002),
        ("album-1", Feature.CONTENT, "album", 6_001),
        ("album-2", Feature.CONTENT, "album", 6_001),
        ("letter", Feature.MESSAGE, "m1", 9_001),
        ("too-dear", Feature.CONTENT, "film", 3_000_000),
    ):
        buy = Buy(key, "ann", "eve", feature, thing, units, units)
        also = letter(key) if feature is Feature.MESSAGE else None
        sold = await play.ask(lambda p, buy=buy, also=also: p.purchases.buy(buy, also))
        if key in ("story-1", "letter"):
            back.append(sold.transfer)
    await play.ask(lambda p: p.purchases.replied(back[1]))
    play.stage.clock.step(3_600)
    for transfer in back:
        await play.ask(lambda p, transfer=transfer: p.purchases.refund(transfer, "staff"))


async def groups(play: Play) -> None:
    """Four groups: shown in part, called off, short of its goal, left by a process that died."""
    terms = GroupTerms(36_000, 12_000, 180_000, 60_000, allow_late=True)

    async def opened(name: str) -> None:
        await play.ask(lambda p: p.groups.schedule(name, "eve", terms))
        await play.ask(lambda p: p.groups.open(name))

    async def give(name: str, member: str, units: int, key: str) -> None:
        await play.ask(lambda p: p.groups.contribute(name, member, units, key))

    await opened("shown")
    await give("shown", "bob", 6_000, "g1")
    await give("shown", "ann", 30_001, "g2")
    await give("shown", "bob", 12_001, "g3")
    await play.ask(lambda p: p.groups.beat({"shown": 61_000}))
    await play.ask(lambda p: p.groups.finish("shown", 90_000, "expert_lost"))
    for name, step in (("off", "cancel"), ("short", "time_up")):
        await opened(name)
        await give(name, "ann", 12_000, name)
        await play.ask(lambda p, name=name, step=step: getattr(p.groups, step)(name))
    await opened("left")
    await give("left", "ann", 12_002, "g6")
    await play.ask(lambda p: p.groups.start("left"))
    await play.ask(lambda p: p.groups.beat({"left": 45_000}))
    await play.ask(lambda p: p.groups.recover())


async def reload(play: Play) -> None:
    """The balance falls to the threshold, and the member had opted in."""
    await play.ask(lambda p: p.reload.set_settings("ann", enabled=True, token="tok_any"))
    balance = await play.ask(lambda p: p.wallet.balance("ann"))
    most = Debit("most", "ann", "eve", balance.available - 30_000, "tip", "t")
    await play.ask(lambda p: p.wallet.ledger.execute(most))

    async def settle(process: Process) -> None:
        await process.reload.idle()
        await process.orders.resume_pending()
        await process.reload.check("ann")

    await play.ask(settle)
    await play.events()
    await play.ask(lambda p: p.reload.set_settings("ann", enabled=False))


async def refund(play: Play) -> None:
    """A session is asked back, and a part of it is granted."""
    await play.ask(lambda p: p.refunds.request("s1", "ann", "No sound."))
    await play.ask(lambda p: p.refunds.approve("s1", 1_001, "staff"))


async def money_back(play: Play) -> None:
    """A part of an order is given back."""
    second = await play.bought("second", "credits-27")
    await play.ask(lambda p: p.order_refunds.request(second, 333, "staff-1", "staff"))
    await play.ask(lambda p: p.order_refunds.resume())
    await play.events()


async def charge_back(play: Play) -> None:
    """A bank takes the money of the first order, whose credits are spent; a purchase pays debt."""
    spend = Debit("spend", "ann", "eve", 120_000, "tip", "t")
    await play.ask(lambda p: p.wallet.ledger.execute(spend))
    bank = play.stage.bank
    bank.dispute(first_payment(bank))
    await play.events()
    await play.bought("after-loss", "credits-9")


async def won_after_all(play: Play) -> None:
    """The bank gives it to us again."""
    bank = play.stage.bank
    bank.dispute(first_payment(bank))
    await play.events()
    await play.bought("after-won", "credits-9")


def first_payment(bank: Bank) -> Payment:
    """Of the order with the most credits."""
    return max(bank.payments.values(), key=lambda payment: payment.charge.credits_units)


async def payouts(play: Play) -> None:
    """Two days later the expert is paid once, and takes a second payout back."""
    play.stage.clock.step(2 * 24 * 3_600)
    await play.ask(lambda p: p.payouts.set_destination("eve", "Eve Adams", IBAN))
    paid = await play.ask(lambda p: p.payouts.request("eve", "one", 60_000))
    await play.ask(lambda p: p.payouts.approve(paid.payout_id, "staff"))
    await play.ask(lambda p: p.payouts.send(paid.payout_id))
    other = await play.ask(lambda p: p.payouts.request("eve", "two", 6_000))
    await play.ask(lambda p: p.payouts.cancel("eve", other.payout_id))
    await play.ask(lambda p: seal(p.database, play.stage.clock.now_ms()))


SCENES: tuple[Scene, ...] = (
    arrive,
    buy,
    gifts,
    limits,
    session,
    tips,
    features,
    groups,
    reload,
    refund,
    money_back,
    charge_back,
    won_after_all,
    payouts,
)


async def perform(
    props: Props, scene: Scene, monkeypatch, *, kill_at: int = 0, counted=WRITES
) -> Books:
    """Play one scene; the process dies before point `kill_at`, and lives on anew."""
    stage = Stage(props.store, seed=0, clock=props.clock, counted=counted, kill_at=kill_at)
    stage.bank, stage.payer = props.bank, props.payer
    names = random.Random(scene.__name__)
    with monkeypatch.context() as patch:
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=names.getrandbits(128), version=4))
        database = await props.store.open(Calm())
        judge = Judge(stage, database)
        try:
            await stage.alive()
            stage.count = 0
            await scene(Play(stage, judge))
            process = await stage.alive()
            await process.reload.idle()
            await process.till.tick()
            points = stage.count
            judge.hear()
            for life in list(stage.lives.values()):
                await judge.ended(life)
            rows = await _rows(database)
            paid = stage.bank.payments.values()
            rows["payments"] = sorted((p.charge.credits_units, p.kept_units) for p in paid)
            rows["payouts sent"] = sorted((p.units, p.iban) for p in stage.payer.sent)
            return Books(rows, points)
        finally:
            if stage.process is not None:
                await stage.process.bury(set())
            await database.close()


async def _rows(database: PointedDatabase) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is money, or tells what becomes of it, without drawn names and instants."""
    assert (await verify(database)).findings == ()
    assert (await reconcile(database)).findings == ()
    tables: dict[str, tuple[sa.Table, str]] = {
        "accounts": (schema.accounts, "account units"),
        "transfers": (
            schema.transfers,
            "kind outcome units promo_units paid_units member_id expert_id",
        ),
        "holds": (schema.holds, "member_id state promo_units paid_units posted_units"),
        "orders": (schema.orders, "member_id origin package_id price_minor state refunded_units"),
        "attempts": (schema.attempts, "state"),
        "refunds": (schema.refunds, "session_id state granted_units"),
        "order refunds": (schema.order_refunds, "key state price_minor before_minor units"),
        "reloads": (schema.reloads, "member_id state day_count serial failures notice"),
        "limits": (schema.spend_limits, "member_id span limit_units next_units counted_units"),
        "payouts": (schema.payouts, "expert_id state units failure"),
        "claims": (schema.free_claims, "member_id state"),
        "mails": (schema.outbox, "kind"),
        "shares": (schema.shares, " ".join(share_rows.COLUMNS.values())),
        "share changes": (schema.share_changes, "expert_id change feature percent was_percent"),
        "members": (schema.members, "member_id"),
        "purchases": (schema.purchases, "member_id feature object_id units refunded_by"),
        "access": (schema.access, "member_id feature object_id"),
        "groups": (
            schema.groups,
            "group_id state reason pledged_units captured_units refunded_units goal_pledge"
            " start_pledge",
        ),
        "pledges": (schema.pledges, "pledge_id group_id member_id units state refunded_units"),
    }
    rows = {}
    async with database.read() as connection:
        for name, (table, columns) in tables.items():
            query = sa.select(*(table.c[column] for column in columns.split()))
            found = [tuple(row) for row in await connection.execute(query)]
            rows[name] = sorted(found, key=repr)
        earned = int(await connection.scalar(EARNED_BY_SESSIONS) or 0)
    rows["earned by sessions"] = [(earned,)]
    return rows
