"""Named deadlines in one heap, so that one timer serves the whole house."""

import enum
import heapq
from dataclasses import dataclass


class Due(enum.StrEnum):
    """What a deadline is for; `Key.of` says whose it is."""

    SESSION = "session"
    PLACE = "place"
    NOTICE = "notice"
    CARD = "card"
    IDLE_VIEWERS = "idle_viewers"
    FIGURES = "figures"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names a deadline; setting the same one again moves it."""

    due: Due
    of: str


class Deadlines:
    """Set, move, cancel; `pop_due` gives what is over, earliest first."""

    def __init__(self) -> None:
        self._at_ns: dict[Key, int] = {}
        self._heap: list[tuple[int, Key]] = []

    def set(self, key: Key, at_ns: int) -> None:
        """Set or move a deadline."""
        self._at_ns[key] = at_ns
        heapq.heappush(self._heap, (at_ns, key))

    def set_unless_set(self, key: Key, at_ns: int) -> bool:
        """Set a deadline, but leave an earlier wish alone: for work that is put off once.

        True when it was set.
        """
        if key in self._at_ns:
            return False
        self.set(key, at_ns)
        return True

    def cancel(self, key: Key) -> None:
        """Forget a deadline, if there is one."""
        self._at_ns.pop(key, None)

    @property
    def next_ns(self) -> int | None:
        """When the next one is due, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ns: int) -> Key | None:
        """One deadline that is over, or None."""
        self._drop_stale()
        if not self._heap or self._heap[0][0] > now_ns:
            return None
        _, key = heapq.heappop(self._heap)
        del self._at_ns[key]
        return key

    def _drop_stale(self) -> None:
        """Moved and cancelled entries stay in the heap until they surface."""
        while self._heap and self._at_ns.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
