"""What one tick has to make durable, collected page by page before the writer is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from billing_meter import marks, till_seat
from billing_meter.marks import PAGE_SESSIONS
from billing_meter.meter import MeterSnapshot
from billing_meter.till_seat import Seat

SEATS_PER_TURN = 64
"""A packet that comes during a tick waits for this many seats' work: about half a millisecond."""
STEPS_PER_TURN = 10
"""A seat whose money moves is ten times the work."""
T = TypeVar("T")


class Pages:
    """Which open session's marks lie on which page; a session stays on its page."""

    def __init__(self) -> None:
        self._pages: list[dict[str, Seat]] = []

    def with_room(self) -> int:
        """The page of the next session."""
        for number, page in enumerate(self._pages):
            if len(page) < PAGE_SESSIONS:
                return number
        return len(self._pages)

    def add(self, seat: Seat) -> None:
        """The session is open."""
        while len(self._pages) <= seat.page:
            self._pages.append({})
        self._pages[seat.page][seat.session_id] = seat

    def remove(self, seat: Seat) -> None:
        """It is not any more."""
        self._pages[seat.page].pop(seat.session_id, None)

    def all(self) -> Iterator[tuple[int, list[Seat]]]:
        """Every page that has open sessions, with them."""
        for number in range(len(self._pages)):
            if self._pages[number]:
                yield number, list(self._pages[number].values())


@dataclass(slots=True)
class Survey:
    """All sessions as they were at one instant."""

    now_ns: int
    at_ms: int
    pages: list[tuple[int, bytes]] = field(default_factory=list)
    """Those whose marks changed, as records."""
    told: list[tuple[Seat, int, MeterSnapshot | None]] = field(default_factory=list)
    """Seat, revision on its page, and what it looks like, if it runs."""
    due: list[Seat] = field(default_factory=list)
    """Seats whose money moves: closing ones, those whose grant is half used, and those of which it
    is not known what is held."""


async def survey(
    pages: Pages, now_ns: int, at_ms: int, look: Callable[[Seat], None], seats: int
) -> Survey:
    """Look at every seat, and write down what it used. Gives the loop its turns."""
    found = Survey(now_ns, at_ms)
    due: list[tuple[int, Seat]] = []
    turn = 0
    for number, page in pages.all():
        _survey_page(found, number, page, look, due)
        turn += len(page)
        if turn >= SEATS_PER_TURN:
            turn = 0
            await asyncio.sleep(0)
    found.due += till_seat.most_urgent(due, seats)
    return found


def _survey_page(
    found: Survey,
    number: int,
    page: Sequence[Seat],
    look: Callable[[Seat], None],
    due: list[tuple[int, Seat]],
) -> None:
    now_ns, at_ms, told = found.now_ns, found.at_ms, found.told
    changed = False
    for seat in page:
        meter = seat.meter
        if meter.over or seat.closing is not None or not seat.flows(now_ns):
            look(seat)
        else:
            seat.absorb(now_ns)
        changed = changed or meter.revision != seat.marked
        if seat.closing is not None or seat.doubtful:
            found.due.append(seat)
        elif now_ns >= seat.fresh_until_ns and meter.renewal_due():
            due.append((0 if meter.surplus else meter.funded_ns(), seat))
        running = seat.closing is None and not meter.over
        told.append((seat, meter.revision, meter.snapshot() if running else None))
    if changed:
        record = marks.pack_marks([seat.mark(at_ms) for seat in page])
        found.pages.append((number, record))


def slices(items: Sequence[T], size: int = SEATS_PER_TURN) -> Iterator[Sequence[T]]:
    """Parts that are worked on without giving the loop a turn."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
