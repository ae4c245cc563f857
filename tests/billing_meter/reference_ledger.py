"""The ledger as a book-keeper would describe it: dicts of integers, one thing after the other.

Written from the rules, not from the product, of which it imports nothing. Commands and outcomes are
plain tuples. What it says after each command is what the product must say, on every database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

Bucket = tuple[int, int]
"""(promo, paid)."""
Outcome = tuple[str, str, int, Bucket]
"""("posted", "", units, where they came from or went to) or ("refused", code, 0, (0, 0))."""
Command = tuple[object, ...]
"""(verb, key, arguments…); see the methods."""


def refused(code: str) -> Outcome:
    return ("refused", code, 0, (0, 0))


def from_both(units: int, there: Bucket) -> Bucket:
    """Gifts go first."""
    promo = min(units, there[0])
    return promo, units - promo


@dataclass
class Movement:
    """Something that was posted and may be taken back."""

    verb: str
    member: str
    units: int
    buckets: Bucket
    expert: str = ""
    expert_units: int = 0
    back: int = 0
    """How much of it was ever taken back."""
    again: int = 0
    """How much of that was given again, since the money came back after all."""
    of: str = ""
    """The purchase that this took back."""


@dataclass
class Reserve:
    """Credits set aside."""

    member: str
    inside: Bucket
    expires_ms: int | None
    state: str = "open"


@dataclass
class ReferenceLedger:
    """Everybody's credits."""

    percent: Mapping[str, Mapping[str, int]]
    """Expert → shares of debits, and of what is posted of holds, in per cent."""
    accounts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    holds: dict[str, Reserve] = field(default_factory=dict)
    movements: dict[str, Movement] = field(default_factory=dict)
    """By key."""
    answered: dict[str, tuple[Command, Outcome]] = field(default_factory=dict)
    journal: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Member → sum of all that changed their credits, held or not."""

    def do(self, command: Command, now_ms: int) -> tuple[Outcome, bool]:
        """(outcome, whether it had been given before)."""
        key = str(command[1])
        known = self.answered.get(key)
        if known is not None:
            return (known[1], True) if known[0] == command else (refused("key_reused"), False)
        outcome = self._fresh(command, now_ms)
        self.answered[key] = command, outcome
        assert sum(self.accounts.values()) == 0
        return outcome, False

    def _fresh(self, command: Command, now_ms: int) -> Outcome:
        match command:
            case ("purchase", str(key), str(member), int(units)):
                return self._credit(
                    "purchase", key, member, (0, units), "platform:gateway_clearing"
                )
            case ("promo", str(key), str(member), int(units)):
                return self._credit("promo", key, member, (units, 0), "platform:promo_cost")
            case ("debit", str(key), str(member), str(expert), int(units)):
                there = self.buckets(member)
                if units > sum(there):
                    return refused("insufficient_credits")
                taken = from_both(units, there)
                self._add(member, (-taken[0], -taken[1]))
                return self._earn("debit", key, member, expert, units, taken)
            case ("hold", str(key), str(member), str(name), int(units), expires):
                there = self.buckets(member)
                if units > sum(there):
                    return refused("insufficient_credits")
                taken = from_both(units, there)
                self._add(member, (-taken[0], -taken[1]))
                self.accounts[f"member:{member}:held"] += units
                assert expires is None or isinstance(expires, int)
                self.holds[name] = Reserve(member, taken, expires)
                return ("posted", "", units, taken)
            case ("post", str(key), str(name), str(expert), int(units)):
                return self._post(key, name, expert, units, now_ms)
            case ("void", str(), str(name)):
                hold = self.holds.get(name)
                if hold is None or hold.state != "open":
                    return refused("hold_unknown" if hold is None else f"hold_{hold.state}")
                self._close(hold, "voided")
                return ("posted", "", 0, (0, 0))
            case ("reverse", str(), str(of), int(units)):
                return self._reverse(of, units)
            case ("take", str(key), str(of), int(units), str()):
                return self._take(key, of, units)
            case ("pay", str(), str(member), int(units)):
                return self._pay(member, units)
        raise AssertionError(command)

    def expire(self, now_ms: int) -> int:
        """Give back all that is overdue; how many."""
        due = [
            hold
            for hold in self.holds.values()
            if hold.state == "open" and hold.expires_ms is not None and hold.expires_ms <= now_ms
        ]
        for hold in due:
            self._close(hold, "expired")
        return len(due)

    def buckets(self, member: str) -> Bucket:
        """What can be spent."""
        return self.accounts[f"member:{member}:promo"], self.accounts[f"member:{member}:paid"]

    def spent(self, key: str) -> bool:
        """Whether something of a debit or a post can still be taken back."""
        movement = self.movements.get(key)
        spent = movement is not None and (bool(movement.expert) or movement.verb == "take")
        return spent and self.left(key) > 0

    def bought(self, key: str) -> bool:
        """Whether something of a purchase has not gone back."""
        movement = self.movements.get(key)
        return movement is not None and movement.verb == "purchase" and self.left(key) > 0

    def left(self, key: str) -> int:
        """How much of what was posted under a key has not been taken back."""
        movement = self.movements.get(key)
        return 0 if movement is None else movement.units - movement.back + movement.again

    def _add(self, member: str, change: Bucket) -> None:
        self.accounts[f"member:{member}:promo"] += change[0]
        self.accounts[f"member:{member}:paid"] += change[1]
        assert min(self.buckets(member)) >= 0

    def _credit(self, verb: str, key: str, member: str, given: Bucket, source: str) -> Outcome:
        units = sum(given)
        self._add(member, given)
        self.accounts[source] -= units
        self.journal[member] += units
        self.movements[key] = Movement(verb, member, units, given)
        return ("posted", "", units, given)

    def _earn(
        self, verb: str, key: str, member: str, expert: str, units: int, taken: Bucket
    ) -> Outcome:
        expert_units = units * self.percent[expert][verb] // 100
        self.accounts[f"expert:{expert}:payable"] += expert_units
        self.accounts["platform:revenue"] += units - expert_units
        self.journal[member] -= units
        self.movements[key] = Movement(verb, member, units, taken, expert, expert_units)
        return ("posted", "", units, taken)

    def _post(self, key: str, name: str, expert: str, units: int, now_ms: int) -> Outcome:
        hold = self.holds.get(name)
        if hold is None or hold.state != "open":
            return refused("hold_unknown" if hold is None else f"hold_{hold.state}")
        if hold.expires_ms is not None and hold.expires_ms <= now_ms:
            return refused("hold_expired")
        if units > sum(hold.inside):
            return refused("exceeds_hold")
        used = from_both(units, hold.inside)
        hold.inside = hold.inside[0] - used[0], hold.inside[1] - used[1]
        self.accounts[f"member:{hold.member}:held"] -= units
        self._close(hold, "posted")
        return self._earn("post", key, hold.member, expert, units, used)

    def _close(self, hold: Reserve, state: str) -> None:
        self.accounts[f"member:{hold.member}:held"] -= sum(hold.inside)
        self._add(hold.member, hold.inside)
        hold.inside, hold.state = (0, 0), state

    def _reverse(self, of: str, units: int) -> Outcome:
        """Back to where it came from, what was taken last first; the shares to the unit."""
        movement = self.movements.get(of)
        if movement is None:
            return refused("not_reversible")
        if movement.back + units > movement.units:
            return refused("exceeds_transfer")
        promo, paid = movement.buckets
        gone, will = movement.back, movement.back + units
        paid_now = min(will, paid) - min(gone, paid)
        back = units - paid_now, paid_now
        if movement.verb == "take":
            self._add(movement.member, back)
            self.accounts["platform:gateway_clearing"] -= units
            self.journal[movement.member] += units
            self.movements[movement.of].again += units
        elif movement.verb in ("purchase", "promo"):
            there = self.buckets(movement.member)
            if back[0] > there[0] or back[1] > there[1]:
                return refused("insufficient_credits")
            source = "gateway_clearing" if movement.verb == "purchase" else "promo_cost"
            self._add(movement.member, (-back[0], -back[1]))
            self.accounts[f"platform:{source}"] += units
            self.journal[movement.member] -= units
        else:
            share = movement.expert_units
            theirs = share * will // movement.units - share * gone // movement.units
            self.accounts[f"expert:{movement.expert}:payable"] -= theirs
            self.accounts["platform:revenue"] -= units - theirs
            self._add(movement.member, back)
            self.journal[movement.member] += units
        movement.back = will
        assert sum(back) == units
        assert promo + paid == movement.units
        return ("posted", "", units, back)

    def _take(self, key: str, of: str, units: int) -> Outcome:
        """The money of a purchase went back: its credits too, and what is spent becomes a debt."""
        movement = self.movements.get(of)
        if movement is None or movement.verb != "purchase":
            return refused("not_reversible")
        if movement.back - movement.again + units > movement.units:
            return refused("exceeds_transfer")
        member = movement.member
        there = min(units, self.buckets(member)[1])
        self._add(member, (0, -there))
        self.accounts[f"member:{member}:debt"] -= units - there
        self.accounts["platform:gateway_clearing"] += units
        self.journal[member] -= there
        movement.back += units
        self.movements[key] = Movement("take", member, units, (0, units), of=of)
        return ("posted", "", units, (0, units))

    def _pay(self, member: str, units: int) -> Outcome:
        """A debt, out of what was bought."""
        if units > self.buckets(member)[1]:
            return refused("insufficient_credits")
        if units > self.owed(member):
            return refused("exceeds_debt")
        self._add(member, (0, -units))
        self.accounts[f"member:{member}:debt"] += units
        self.journal[member] -= units
        return ("posted", "", units, (0, units))

    def owed(self, member: str) -> int:
        """A member's debt."""
        return -self.accounts[f"member:{member}:debt"]
