"""What members and experts do beside sessions: surprises, stories, content, messages, groups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa

from billing_meter import schema
from billing_meter.features import Buy, Feature
from billing_meter.group_rules import GroupState, GroupTerms, StartPolicy
from billing_meter.groups import Contributed, Moved
from billing_meter.ledger import Refused
from billing_meter.ledger_store import LedgerTransaction
from billing_meter.purchases import Purchase
from billing_meter.sales import Also, Bought
from tests.billing_meter.sim.moves import EXPERTS, MEMBERS, Move, Moves
from tests.billing_meter.sim.shows import Show
from tests.billing_meter.sim.world import Process
from tests.turns import turn

LETTER = "letter"
CREDIT = 6_000
MINUTE_MS = 60_000
SHOWN_MS = (0, 20_000, 90_000, 180_000)
PRICES = {
    Feature.SURPRISE: (1, 700, 6_000, 12_000),
    Feature.STORY: (3_000, 4_001, 9_000),
    Feature.CONTENT: (3_000, 5_003, 12_000),
    Feature.MESSAGE: (9_000, 9_001),
}
REFUSALS = {
    "price_changed",
    "price_out_of_range",
    "already_entitled",
    "insufficient_credits",
    "limit_day",
}
NOT_TAKEN = {"group_live", "group_over", "below_minimum", "insufficient_credits", "limit_day"}


def letter(name: str) -> Also:
    """The seller's row: here a row of the outbox, in the transaction of the debit."""

    async def write(transaction: LedgerTransaction, answer: Bought) -> None:
        row = {
            "event_id": f"{LETTER}:{name}",
            "kind": LETTER,
            "member_id": "ann",
            "facts": "{}",
            "at_ms": 0,
            "state": "waiting",
            "tries": 0,
            "next_at_ms": 0,
        }
        await transaction.connection.execute(sa.insert(schema.outbox), [row])

    return write


class FeatureMoves:
    """Moves of their own kind, for the same people."""

    def __init__(self, moves: Moves) -> None:
        self.moves = moves
        self.chance = moves.chance
        self.judge = moves.judge
        self.ask = moves.ask

    async def buy(self) -> None:
        """One of the four; now and then at a price that is not in force, or too low."""
        chance = self.chance
        feature, expert = chance.choice(tuple(Feature)), chance.choice(EXPERTS)
        name = self.moves.key("buy")
        thing = {
            Feature.STORY: expert,
            Feature.CONTENT: f"{expert}-{chance.randrange(3)}",
            Feature.MESSAGE: name,
        }.get(feature, "rose")
        units = chance.choice(PRICES[feature])
        asked = units if chance.random() < 0.9 else chance.choice((units + 1, 2_999))
        price = units if chance.random() < 0.5 else asked
        member = chance.choice(MEMBERS)
        buy = Buy(name, member, expert, feature, thing, asked, price)
        also = letter(name) if feature is Feature.MESSAGE else None
        answer = await self.ask(lambda p: p.purchases.buy(buy, also))
        if isinstance(answer, Refused):
            assert answer.code in REFUSALS, answer
            return
        assert asked == price, "sold at a price that was not in force"
        self.judge.book.spent[member] += asked
        self.judge.bought[answer.transfer] = (member, asked)
        if also is not None:
            self.judge.letters.add(f"{LETTER}:{name}")
            self.judge.sent[answer.transfer] = asked
            self.judge.sent_to[answer.transfer] = expert

    async def undo(self) -> None:
        """Staff give a purchase or a part of it back; somebody else tries, too."""
        judge = self.judge
        if not judge.bought:
            return
        transfer = self.chance.choice(list(judge.bought))
        member, price = judge.bought.pop(transfer)
        units = price if self.chance.random() < 0.6 else self.chance.randint(1, price)
        judge.undone[transfer] = units
        before = transfer in judge.replied
        backs = await self._at_once(
            [lambda: self.ask(lambda p: p.purchases.refund(transfer, "staff", units))] * 2
        )
        told = [back for back in backs if isinstance(back, Purchase)]
        codes = {back.code for back in backs if isinstance(back, Refused)}
        # Both may hear that it was done before: by a try whose answer was lost.
        assert len(told) <= 1, f"{transfer} was given back twice"
        assert codes <= {"already_refunded"}, codes
        judge.book.back[member] += units
        if before:
            judge.taken_back += judge.share(transfer) * units // price

    async def reply(self) -> None:
        """An expert answers a message that they can still answer, or one that they cannot."""
        judge = self.judge
        if not judge.sent:
            return
        transfer = self.chance.choice(list(judge.sent))
        answer = await self.ask(lambda p: p.purchases.replied(transfer))
        if isinstance(answer, Purchase) or answer.code == "already_replied":
            judge.replied.setdefault(transfer, judge.sent[transfer] - judge.undone.get(transfer, 0))
        else:
            assert answer.code == "already_refunded"
            assert judge.undone[transfer] == judge.sent[transfer]

    # --- groups -----------------------------------------------------------------------------

    def _show(self) -> Show | None:
        """Some group that is not over."""
        going = [show for show in self.judge.shows.values() if not show.over]
        return self.chance.choice(going) if going else None

    async def begin(self) -> None:
        """An expert opens a group, unless they have one."""
        chance, expert = self.chance, self.chance.choice(EXPERTS)
        if any(show.expert == expert and not show.over for show in self.judge.shows.values()):
            return
        terms = GroupTerms(
            goal_units=chance.choice((6, 8, 12)) * CREDIT,
            minimum_units=chance.choice((2, 3, 6)) * CREDIT,
            length_ms=3 * MINUTE_MS,
            pre_session_ms=MINUTE_MS,
            start_policy=chance.choice(tuple(StartPolicy)),
            allow_late=chance.random() < 0.4,
        )
        name = self.moves.key("group")
        self.judge.shows[name] = Show(name, expert, terms)
        made = await self.ask(lambda p: p.groups.schedule(name, expert, terms))
        assert isinstance(made, Moved), made
        opened = await self.ask(lambda p: p.groups.open(name))
        # A crash right behind it settles the group before its expert hears that it was open.
        assert isinstance(opened, Moved) or opened.code == "group_over", opened

    async def give(self, show: Show | None = None) -> None:
        """Somebody contributes."""
        show = show or self._show()
        if show is None:
            return
        member, key = self.chance.choice(MEMBERS), self.moves.key("give")
        units = self.chance.choice((1, 2_000, 12_000, 12_000, 18_000, 18_001))
        answer = await self.ask(lambda p: p.groups.contribute(show.name, member, units, key))
        if isinstance(answer, Contributed):
            show.gave(answer)
        else:
            assert answer.code in NOT_TAKEN, answer

    async def step(self) -> None:
        """Its expert starts it, cancels it, or the time of something is up."""
        show = self._show()
        if show is not None:
            await self._step(show, self.chance.choice(("start", "start", "cancel", "time_up")))

    async def _step(self, show: Show, what: str) -> None:
        await self.ask(lambda p: getattr(p.groups, what)(show.name))

    async def beat(self) -> None:
        """Something more of it was shown."""
        show = self._show()
        if show is None:
            return
        shown = self.chance.choice(SHOWN_MS)
        show.asked_ms = max(show.asked_ms, min(shown, show.terms.length_ms))

        async def once(process: Process) -> frozenset[str]:
            return await process.groups.beat({show.name: shown})

        gone = await self.ask(once)
        if show.state == "live" and not gone:
            show.told_ms = max(show.told_ms, shown)

    async def finish(self) -> None:
        """The show is over: by the clock, its expert, or since the expert was lost."""
        show = self._show()
        if show is None or show.state != "live":
            return
        shown = self.chance.choice(SHOWN_MS)
        show.asked_ms = max(show.asked_ms, shown)
        ended = await self.ask(lambda p: p.groups.finish(show.name, shown, "expert_lost"))
        assert isinstance(ended, Moved), ended
        if ended.changed:
            show.told_ms = max(show.told_ms, shown)

    async def crowd(self) -> None:
        """Members contribute while the expert starts or cancels it: no order is promised."""
        show = self._show()
        if show is None:
            return
        steps = self.chance.sample(("start", "start", "cancel", "time_up"), 2)
        await self._at_once(
            [
                *(lambda: self.give(show) for _ in range(self.chance.randint(1, 4))),
                *(lambda what=what: self._step(show, what) for what in steps),
            ]
        )

    async def _at_once(self, works: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        async def late(work: Callable[[], Awaitable[Any]], turns: int) -> Any:
            for _ in range(turns):
                await turn()
            return await work()

        tasks = [asyncio.create_task(late(work, self.chance.randrange(6))) for work in works]
        world = self.moves.world
        world.clients.update(tasks)
        answers = await asyncio.gather(*tasks)
        world.clients.difference_update(tasks)
        return answers

    def weighted(self) -> dict[Move, int]:
        """How often each is done."""
        return {
            self.buy: 7,
            self.undo: 2,
            self.reply: 2,
            self.begin: 3,
            self.give: 6,
            self.step: 2,
            self.beat: 2,
            self.finish: 2,
            self.crowd: 2,
        }

    async def leave(self, process: Process) -> None:
        """Every group ends."""
        for show in list(self.judge.shows.values()):
            if show.over:
                continue
            show.asked_ms = show.terms.length_ms
            up = await process.groups.time_up(show.name)
            assert isinstance(up, Moved), up
            if up.group.state is GroupState.LIVE:
                ended = await process.groups.finish(show.name, show.terms.length_ms)
                assert isinstance(ended, Moved), ended
