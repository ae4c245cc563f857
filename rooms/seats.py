"""Who watched a moment ago, and so is no new viewer to a server that takes no more of them. Pure.

A seat is one person's, not one connection's: a page that is loaded anew has another place in the
house. It is worth one viewer: taking it uses it up.
"""

from rooms.limits import SEAT_KEPT_NS, SEATS_MAX
from rooms.roles import VisitorKind

Person = tuple[VisitorKind, str]


class Seats:
    """Seats that were given up, by person, the oldest first."""

    def __init__(self, seats_max: int = SEATS_MAX) -> None:
        self._given_up_ns: dict[Person, int] = {}
        self._seats_max = seats_max

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._given_up_ns)

    def keep(self, person: Person, now_ns: int) -> None:
        """The person stopped watching."""
        self._given_up_ns.pop(person, None)
        self._given_up_ns[person] = now_ns
        self._forget_old(now_ns)

    def has(self, person: Person, now_ns: int) -> bool:
        """Whether the person may come back as if they had never been away."""
        given_up_ns = self._given_up_ns.get(person)
        return given_up_ns is not None and now_ns - given_up_ns < SEAT_KEPT_NS

    def take(self, person: Person) -> None:
        """The person watches again."""
        self._given_up_ns.pop(person, None)

    def _forget_old(self, now_ns: int) -> None:
        while self._given_up_ns:
            person, given_up_ns = next(iter(self._given_up_ns.items()))
            if len(self._given_up_ns) <= self._seats_max and now_ns - given_up_ns < SEAT_KEPT_NS:
                return
            del self._given_up_ns[person]
