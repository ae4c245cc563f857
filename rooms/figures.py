"""The figures of a visitor's own connections, once a second, to whoever looks at them.

Law: a visitor learns of connections that carry their own picture and sound to or from them, and
of nobody else's: which ones those are follows from their place alone, never from what they ask.
Nothing is computed while nobody looks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from media.api import Direction
from rooms.airing import Airing, stream_source
from rooms.deadlines import Due, Key
from rooms.engines import MediaEngine
from rooms.events import ConnectionFigures, Feed, FiguresShown
from rooms.floor import Floor, Place
from rooms.limits import FIGURES_FIRST_NS, FIGURES_NS, NS_PER_S
from rooms.member_feed import feed_source
from rooms.private_desk import PrivateDesk

Counted = dict[tuple[str, int], int]
"""Payload octets by media id and position of the stream in it."""


@dataclass(slots=True)
class _Look:
    """One place that looks, and what was counted when it was told last."""

    counted: Counted = field(default_factory=dict)
    at_ns: int = 0


class Figures:
    """All places that look."""

    def __init__(self, floor: Floor, airing: Airing, desk: PrivateDesk, media: MediaEngine) -> None:
        self._floor = floor
        self._airing = airing
        self._desk = desk
        self._media = media
        self._looks: dict[str, _Look] = {}

    def __len__(self) -> int:
        """How many places look."""
        return len(self._looks)

    def subscribe(self, place_id: str) -> None:
        """Told soon, then every second; asking again changes nothing."""
        place = self._floor.places.get(place_id)
        if place is None or place_id in self._looks:
            return
        look = self._looks[place_id] = _Look()
        self._take(place, look)  # what rates are measured from
        self._set_deadline(place_id, FIGURES_FIRST_NS)

    def unsubscribe(self, place_id: str) -> None:
        """No more figures; not looking is no mistake."""
        if self._looks.pop(place_id, None) is not None:
            self._floor.set_deadline(Key(Due.FIGURES, place_id), None)

    def tell(self, place_id: str) -> None:
        """What is due: a place that is gone or not connected has stopped looking."""
        place, look = self._floor.places.get(place_id), self._looks.get(place_id)
        if place is None or look is None or not place.connected:
            self.unsubscribe(place_id)
            return
        self._set_deadline(place_id, FIGURES_NS)  # first, so that one fault is not the end of it
        self._floor.tell(place_id, FiguresShown(self._take(place, look)))

    def _set_deadline(self, place_id: str, in_ns: int) -> None:
        at_ns = self._floor.clock_ns() + in_ns
        self._floor.set_deadline(Key(Due.FIGURES, place_id), at_ns)

    def _take(self, place: Place, look: _Look) -> tuple[ConnectionFigures, ...]:
        now_ns = self._floor.clock_ns()
        elapsed_ns, before = now_ns - look.at_ns, look.counted
        look.at_ns, look.counted = now_ns, {}
        shown = []
        for feed, direction, name in self._own(place):
            figures = self._media.figures(direction, name)
            if figures is None:
                continue
            counted = {(name, n): stream.octets for n, stream in enumerate(figures.streams)}
            look.counted |= counted
            rates = tuple(_rate(before.get(key), now, elapsed_ns) for key, now in counted.items())
            shown.append(ConnectionFigures(feed, direction, figures, rates))
        return tuple(shown)

    def _own(self, place: Place) -> Iterator[tuple[Feed, Direction, str]]:
        """The connections of this place, by their names in the media plane."""
        watcher = self._airing.watcher_of(place.place_id)
        if watcher is not None:
            yield Feed.STREAM, Direction.WATCH, watcher.viewer_id
        if place.hosting and place.expert_id in self._airing.publishers:
            # Also when an encoder sends it: it is the expert's own.
            yield Feed.STREAM, Direction.PUBLISH, stream_source(place.expert_id)
        live = self._desk.of_place(place)
        if live is None:
            return
        if place.hosting:
            if live.feed_viewer is not None and live.feed_place == place.place_id:
                yield Feed.PRIVATE, Direction.WATCH, live.feed_viewer
        elif live.feed_peer is not None:
            yield Feed.PRIVATE, Direction.PUBLISH, feed_source(live.session.session_id)


def _rate(before: int | None, now: int, elapsed_ns: int) -> int | None:
    """Bits per second; None for a stream that is new."""
    if before is None or now < before or elapsed_ns <= 0:
        return None
    return (now - before) * 8 * NS_PER_S // elapsed_ns
