"""The open sessions of a till: by name, by member, and by the page of their marks."""

from __future__ import annotations

from collections.abc import Iterator

from billing_meter.till_seat import Seat
from billing_meter.till_tick import Pages


class Register:
    """A session is in it from the commit that opened it to the one that closed it."""

    def __init__(self) -> None:
        self.pages = Pages()
        self._seats: dict[str, Seat] = {}
        self._by_member: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._seats

    def __iter__(self) -> Iterator[Seat]:
        """All of them as they are now; some may come and go meanwhile."""
        return iter(list(self._seats.values()))

    def get(self, session_id: str) -> Seat | None:
        """The seat of a session, if it is open."""
        return self._seats.get(session_id)

    def of_member(self, member_id: str) -> list[Seat]:
        """The sessions that one member pays for."""
        return [self._seats[name] for name in self._by_member.get(member_id, ())]

    def add(self, seat: Seat) -> None:
        """The session is open."""
        self._seats[seat.session_id] = seat
        self.pages.add(seat)
        self._by_member.setdefault(seat.member_id, set()).add(seat.session_id)

    def remove(self, session_id: str) -> Seat | None:
        """It is not any more; None if it was not."""
        seat = self._seats.pop(session_id, None)
        if seat is not None:
            self.pages.remove(seat)
            mine = self._by_member[seat.member_id]
            mine.discard(session_id)
            if not mine:
                del self._by_member[seat.member_id]
        return seat
