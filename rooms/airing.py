"""Who sends and who receives: publishers and viewers of streams, and the free rows between them.

Law: a free row exists only while the room is not sealed by a private session. The rows of a
sealed room are laid by the private desk, through `lay_private_row`, and by nobody else.

While the media plane is busy, new viewers are refused, and nobody else: whoever watches or watched
a moment ago offers anew as before, and so do a session's two and an expert in their own room. New
publishers are let in as well: receiving a stream costs about what one of its viewers costs, there
are few of them, and an expert who cannot go on air has lost the evening.
"""

from collections.abc import Callable
from dataclasses import dataclass

from media.api import BOTH_KINDS, Answer, Direction, SdpRefused
from rooms.deadlines import Due, Key
from rooms.engines import MediaEngine
from rooms.events import Feed, FeedStopped, Wall
from rooms.floor import Floor, Place
from rooms.limits import BUSY_RETRY_S, IDLE_VIEWERS_NS, PUBLISHER_CONNECT_NS
from rooms.refusals import Code, Refusal
from rooms.room import Room
from rooms.seats import Seats


@dataclass(slots=True)
class Publisher:
    """Who sends an expert's stream: a studio's browser (`place_id`) or an encoder (`resource`).

    `proven` once a packet of it arrived.
    """

    peer_id: str
    since_ns: int
    place_id: str | None = None
    resource: str | None = None
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Watcher:
    """One viewer's peer connection to an expert's stream; `place_id` None is a public player."""

    viewer_id: str
    expert_id: str
    place_id: str | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """An answered WHIP or WHEP offer; `resource` is the unguessable name for ending it."""

    answer: Answer
    resource: str


def stream_source(expert_id: str) -> str:
    """The media plane's name of an expert's stream."""
    return f"stream:{expert_id}"


def expert_of_stream(source_id: str) -> str | None:
    """The expert of a stream, or None for any other source."""
    prefix, _, expert_id = source_id.partition(":")
    return expert_id if prefix == "stream" else None


def refused(error: SdpRefused) -> Refusal:
    """A media refusal in the rooms' words."""
    return Refusal(Code(error.code.value), detail=error.detail)


class Airing:
    """Publishers and viewers of all experts' streams."""

    def __init__(self, floor: Floor, media: MediaEngine) -> None:
        self._floor = floor
        self._media = media
        self.publishers: dict[str, Publisher] = {}
        self.watchers: dict[str, Watcher] = {}
        self._watcher_of_place: dict[str, str] = {}
        self._seats = Seats()
        self.refused_busy = 0
        """Viewers refused because the media plane was busy, since the start."""
        self._claimed: set[str] = set()
        self.on_cut: Callable[[str], None] = lambda expert_id: None
        self.lay_private_row: Callable[[Room, Watcher], None] = lambda room, watcher: None
        self.on_row: Callable[[str], None] = lambda place_id: None

    # --- publishing ---------------------------------------------------------------------------

    async def publish(self, place: Place, sdp: str) -> Answer | Refusal:
        """A studio's browser goes on air, or comes back after a broken connection."""
        if not place.hosting or place.expert_id is None:
            return Refusal(Code.NOT_HOST)
        expert_id = place.expert_id
        answer = await self._publish(expert_id, sdp, place.place_id, None)
        if isinstance(answer, Answer) and place.expert_id != expert_id:
            self.go_offline(expert_id)  # the studio was closed while the offer was worked on
            return Refusal(Code.NOT_HOST)
        return answer

    async def publish_encoder(self, expert_id: str, sdp: str) -> Connected | Refusal:
        """An encoder goes on air over WHIP; the caller has checked its key."""
        resource = self._floor.new_id()
        answer = await self._publish(expert_id, sdp, None, resource)
        return answer if isinstance(answer, Refusal) else Connected(answer, resource)

    def encoder_of(self, resource: str) -> str | None:
        """The expert whose encoder this resource is, or None."""
        for expert_id, publisher in self.publishers.items():
            if publisher.resource == resource:
                return expert_id
        return None

    async def _publish(
        self, expert_id: str, sdp: str, place_id: str | None, resource: str | None
    ) -> Answer | Refusal:
        if expert_id in self._claimed or not self._may_publish(expert_id, place_id):
            return Refusal(Code.ALREADY_PUBLISHING)
        self._claimed.add(expert_id)  # offers are answered off this line; one at a time
        try:
            answer = await self._media.publish(
                stream_source(expert_id),
                sdp,
                allowed=BOTH_KINDS,
                replace=expert_id in self.publishers,
            )
        except SdpRefused as error:
            return refused(error)
        finally:
            self._claimed.discard(expert_id)
        now_ns = self._floor.clock_ns()
        self.publishers[expert_id] = Publisher(answer.peer_id, now_ns, place_id, resource)
        return answer

    def _may_publish(self, expert_id: str, place_id: str | None) -> bool:
        """One sender at a time; a dead one, a lost studio's or one's own may be replaced."""
        current = self.publishers.get(expert_id)
        if current is None or self._is_dead(expert_id, current):
            return True
        if current.place_id is None:
            return False
        holder = self._floor.places.get(current.place_id)
        return current.place_id == place_id or holder is None or not holder.connected

    def _is_dead(self, expert_id: str, publisher: Publisher) -> bool:
        """An encoder that crashed must be able to come back without waiting for ICE to notice."""
        if self._floor.room(expert_id).presence.media_fresh:
            return False
        waited_ns = self._floor.clock_ns() - publisher.since_ns
        return publisher.proven or waited_ns > PUBLISHER_CONNECT_NS

    def go_offline(self, expert_id: str) -> None:
        """The expert's own wish: rows first, then the connections, then the notice."""
        source_id, room = stream_source(expert_id), self._floor.room(expert_id)
        self.on_cut(expert_id)
        self._media.seal(source_id)
        self.publishers.pop(expert_id, None)
        self._media.close_publisher(source_id, "offline")
        self.close_viewers(expert_id, "offline")
        room.presence.go_offline(self._floor.clock_ns())
        room.has_sound = False
        self._floor.set_deadline(Key(Due.IDLE_VIEWERS, expert_id), None)
        self._floor.announce(expert_id)

    def publisher_gone(self, expert_id: str, peer_id: str) -> str | None:
        """The publisher's peer connection broke; viewers wait for a quick return.

        Returns the place that must be told: a studio's browser that was not just replaced.
        """
        current = self.publishers.get(expert_id)
        if current is None or current.peer_id != peer_id:
            return None
        del self.publishers[expert_id]
        self.stream_fresh(expert_id, False)
        return None if expert_id in self._claimed else current.place_id

    def stream_fresh(self, expert_id: str, fresh: bool) -> None:
        """Packets arrive, or they stopped."""
        room, publisher = self._floor.room(expert_id), self.publishers.get(expert_id)
        if fresh and publisher is None:
            return  # a last packet of somebody who just went off air
        if fresh and publisher is not None:
            publisher.proven = True
        room.presence.media(fresh)
        idle_ns = None if fresh else self._floor.clock_ns() + IDLE_VIEWERS_NS
        self._floor.set_deadline(Key(Due.IDLE_VIEWERS, expert_id), idle_ns)
        self._floor.announce(expert_id)

    # --- watching -----------------------------------------------------------------------------

    async def watch(self, place: Place, sdp: str) -> Answer | Refusal:
        """A visitor receives the stream of the room they are in."""
        room = self._floor.room_of(place)
        if room is None:
            return Refusal(Code.NOT_IN_ROOM)
        refusal = self._walled(room, place) or self._full(place)
        if refusal is not None:
            return refusal
        watcher = Watcher(self._floor.new_id(), room.expert_id, place.place_id)
        return await self._watch(watcher, sdp)

    async def watch_public(self, expert_id: str, sdp: str) -> Connected | Refusal:
        """A public player receives a free stream over WHEP, and counts as a guest."""
        room = self._floor.room(expert_id)
        if room.sealed or not room.presence.media_fresh:
            return Refusal(Code.NOT_LIVE)
        if self._media.busy is not None:
            return self._no_room()
        watcher = Watcher(self._floor.new_id(), expert_id)
        answer = await self._watch(watcher, sdp)
        return answer if isinstance(answer, Refusal) else Connected(answer, watcher.viewer_id)

    async def _watch(self, watcher: Watcher, sdp: str) -> Answer | Refusal:
        try:
            answer = await self._media.watch(watcher.viewer_id, sdp)
        except SdpRefused as error:
            return refused(error)
        room = self._floor.room(watcher.expert_id)
        if watcher.place_id is None:
            room.public_viewers.add(watcher.viewer_id)
            self._floor.announce_soon(watcher.expert_id)
        else:
            place = self._floor.places.get(watcher.place_id)
            if place is None or place.expert_id != watcher.expert_id:
                self._media.close_viewer(watcher.viewer_id, "left")
                return Refusal(Code.NOT_IN_ROOM)
            self.drop_watcher_of(watcher.place_id, "replaced")
            self._watcher_of_place[watcher.place_id] = watcher.viewer_id
            self._seats.take(place.visitor.key)
        self.watchers[watcher.viewer_id] = watcher
        self._lay_row(room, watcher)
        return answer

    def _walled(self, room: Room, place: Place) -> Refusal | None:
        wall = room.wall(place.place_id, self._floor.clock_ns())
        if wall is Wall.NONE or (place.hosting and wall is Wall.OFFLINE):
            return None
        return Refusal(Code.WALLED, {"wall": wall.value})

    def _full(self, place: Place) -> Refusal | None:
        """No to a new viewer while the media plane is busy; see the file's first lines."""
        if self._media.busy is None or place.hosting or self._had_seat(place):
            return None
        room = self._floor.room_of(place)
        session = None if room is None else room.session
        if session is not None and session.is_party(place.place_id):
            return None
        return self._no_room()

    def _had_seat(self, place: Place) -> bool:
        person = place.visitor.key
        return (
            self._seats.has(person, self._floor.clock_ns())
            or self.watcher_of(place.place_id) is not None
            # A page that was loaded anew, while nobody has missed the old one yet.
            or any(
                not other.connected and self.watcher_of(other.place_id) is not None
                for other in self._floor.places_of(person)
            )
        )

    def _no_room(self) -> Refusal:
        self.refused_busy += 1
        return Refusal(Code.OVERLOADED, {"retry_after_s": BUSY_RETRY_S})

    def watcher_of(self, place_id: str) -> Watcher | None:
        """The place's viewer of the stream, if it has one."""
        viewer_id = self._watcher_of_place.get(place_id)
        return None if viewer_id is None else self.watchers[viewer_id]

    def player(self, expert_id: str, resource: str) -> Watcher | None:
        """The public player of this expert's stream that the resource is, or None."""
        watcher = self.watchers.get(resource)
        if watcher is None or watcher.place_id is not None or watcher.expert_id != expert_id:
            return None
        return watcher

    def drop_watcher_of(self, place_id: str, reason: str) -> None:
        """The place stops receiving."""
        watcher = self.watcher_of(place_id)
        if watcher is not None:
            self.drop_watcher(watcher, reason)

    def drop_watcher(self, watcher: Watcher, reason: str) -> None:
        """Row first, then the peer connection."""
        self._media.stop(stream_source(watcher.expert_id), watcher.viewer_id)
        self.watcher_gone(watcher)
        self._media.close_viewer(watcher.viewer_id, reason)

    def watcher_gone(self, watcher: Watcher) -> None:
        """Forget a viewer whose peer connection is closed."""
        self.watchers.pop(watcher.viewer_id, None)
        if watcher.place_id is None:
            self._floor.room(watcher.expert_id).public_viewers.discard(watcher.viewer_id)
            self._floor.announce_soon(watcher.expert_id)
        elif self._watcher_of_place.get(watcher.place_id) == watcher.viewer_id:
            del self._watcher_of_place[watcher.place_id]
            place = self._floor.places.get(watcher.place_id)
            if place is not None:
                self._seats.keep(place.visitor.key, self._floor.clock_ns())

    def close_viewers(self, expert_id: str, reason: str) -> None:
        """Every viewer of the stream is closed and told."""
        for watcher in self._watchers_in(expert_id):
            self.drop_watcher(watcher, reason)
            if watcher.place_id is not None:
                stopped = FeedStopped(Feed.STREAM, Direction.WATCH, reason)
                self._floor.tell(watcher.place_id, stopped)

    def close_idle_viewers(self, expert_id: str) -> None:
        """The stream did not come back. In a private session its own grace decides."""
        room = self._floor.room(expert_id)
        if room.sealed:
            at_ns = self._floor.clock_ns() + IDLE_VIEWERS_NS
            self._floor.set_deadline(Key(Due.IDLE_VIEWERS, expert_id), at_ns)
        elif not room.presence.media_fresh:
            self.close_viewers(expert_id, "offline")
            self._floor.announce(expert_id)

    # --- rows ---------------------------------------------------------------------------------

    def clear_rows(self, expert_id: str) -> None:
        """Nobody receives any more, and what the caches knew is forgotten."""
        source_id = stream_source(expert_id)
        self.on_cut(expert_id)
        for watcher in self._watchers_in(expert_id):
            self._media.stop(source_id, watcher.viewer_id)
        self._media.seal(source_id)

    def lay_free_rows(self, expert_id: str) -> None:
        """The room is free again: everybody still here receives."""
        room = self._floor.room(expert_id)
        for watcher in self._watchers_in(expert_id):
            self._lay_row(room, watcher)

    def _lay_row(self, room: Room, watcher: Watcher) -> None:
        if room.sealed:
            self.lay_private_row(room, watcher)
        else:
            self._media.forward(stream_source(watcher.expert_id), watcher.viewer_id)
        if watcher.place_id is not None:
            self.on_row(watcher.place_id)

    def places_watching(self, expert_id: str) -> list[str]:
        """The places, not the public players, that have a peer connection to the stream."""
        return [w.place_id for w in self._watchers_in(expert_id) if w.place_id is not None]

    def _watchers_in(self, expert_id: str) -> list[Watcher]:
        return [w for w in self.watchers.values() if w.expert_id == expert_id]
