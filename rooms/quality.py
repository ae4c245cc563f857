"""Whom the quality of a connection is told: whose it is, and whoever is at its other end.

A picture has two ways, from its sender to the server and from there to whoever watches. Each side
hears of its own way, and of the other's (`far`) as far as its picture or sound depends on it: a
viewer of the sender's, in a private session each of the two of the other's. Levels and reasons
only; figures are for their own person alone.
"""

from collections.abc import Iterator

from media.api import Direction, QualityChanged, QualityLevel
from rooms.airing import Airing, expert_of_stream, stream_source
from rooms.engines import MediaEngine
from rooms.events import Feed, FeedQuality
from rooms.floor import Floor, Place
from rooms.member_feed import feed_source, session_of_feed
from rooms.private_desk import PrivateDesk

TROUBLED = frozenset({QualityLevel.FAIR, QualityLevel.POOR})

Reader = tuple[str, Feed, bool]
"""A place, the feed that it hears of, and whether it is of the other end."""


class QualityNews:
    """Synchronous; called by the media plane between two packets."""

    def __init__(self, floor: Floor, airing: Airing, desk: PrivateDesk, media: MediaEngine) -> None:
        self._floor = floor
        self._airing = airing
        self._desk = desk
        self._media = media
        airing.on_row = self.catch_up

    def changed(self, event: QualityChanged) -> None:
        """Another level or reason: all who are concerned hear of it."""
        match event.direction:
            case Direction.WATCH:
                readers = self._readers_of_viewer(event.id)
            case Direction.PUBLISH:
                readers = self._readers_of_source(event.id)
        for place_id, feed, far in readers:
            self._floor.tell(
                place_id, FeedQuality(feed, event.direction, event.level, event.reason, far)
            )

    def catch_up(self, place_id: str) -> None:
        """A picture begins: trouble at its other end, of which this place has not heard yet."""
        place = self._floor.places.get(place_id)
        if place is None:
            return
        for feed, direction, name in self._far_ways(place):
            figures = self._media.figures(direction, name)
            if figures is not None and figures.level in TROUBLED:
                self._floor.tell(
                    place_id, FeedQuality(feed, direction, figures.level, figures.reason, True)
                )

    def _readers_of_viewer(self, viewer_id: str) -> Iterator[Reader]:
        watcher = self._airing.watchers.get(viewer_id)
        if watcher is not None:
            if watcher.place_id is None:
                return  # a public player shows its own
            yield watcher.place_id, Feed.STREAM, False
            room = self._floor.room(watcher.expert_id)
            session = room.session if room.sealed else None
            if session is not None and session.is_party(watcher.place_id):
                yield from ((host, Feed.STREAM, True) for host in room.hosts)
            return
        live = self._desk.of_feed_viewer(viewer_id)
        if live is not None:
            yield live.feed_place, Feed.PRIVATE, False
            yield live.session.member_place, Feed.PRIVATE, True

    def _readers_of_source(self, source_id: str) -> Iterator[Reader]:
        expert_id = expert_of_stream(source_id)
        if expert_id is not None:
            if expert_id not in self._airing.publishers:
                return
            room = self._floor.room(expert_id)
            yield from ((host, Feed.STREAM, False) for host in room.hosts)
            for place_id in self._airing.places_watching(expert_id):
                served = not room.sealed or room.in_private(place_id)
                if served and place_id not in room.hosts:
                    yield place_id, Feed.STREAM, True
            return
        live = self._desk.sessions.get(session_of_feed(source_id) or "")
        if live is not None:
            yield live.session.member_place, Feed.PRIVATE, False
            if live.feed_viewer is not None:
                yield live.feed_place, Feed.PRIVATE, True

    def _far_ways(self, place: Place) -> Iterator[tuple[Feed, Direction, str]]:
        """The other ends that this place's picture and sound come from or go to."""
        watcher = self._airing.watcher_of(place.place_id)
        if watcher is not None and not place.hosting:
            yield Feed.STREAM, Direction.PUBLISH, stream_source(watcher.expert_id)
        live = self._desk.of_place(place)
        if live is None:
            return
        if not place.hosting:
            if live.feed_viewer is not None:
                yield Feed.PRIVATE, Direction.WATCH, live.feed_viewer
            return
        member = self._airing.watcher_of(live.session.member_place)
        if member is not None:
            yield Feed.STREAM, Direction.WATCH, member.viewer_id
        if live.feed_place == place.place_id:
            yield Feed.PRIVATE, Direction.PUBLISH, feed_source(live.session.session_id)
