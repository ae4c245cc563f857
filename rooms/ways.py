"""The way of a peer's packets, found anew: whose peer connection may be restarted, and by whom.

Law: a restart changes where packets go, never who gets them: rows, gates and keys stay.
"""

from dataclasses import dataclass

from media.api import Direction, IceDescription, IceParameters
from rooms.airing import Airing, stream_source
from rooms.engines import MediaEngine
from rooms.events import Feed
from rooms.floor import Floor, Place
from rooms.member_feed import feed_source
from rooms.private_desk import PrivateDesk


@dataclass(frozen=True, slots=True)
class Way:
    """One peer connection in the media plane's words."""

    direction: Direction
    name: str
    peer_id: str | None = None


class Ways:
    """Who asks is known by what they hold: a resource's name, or a place in the house."""

    def __init__(self, floor: Floor, airing: Airing, desk: PrivateDesk, media: MediaEngine) -> None:
        self._floor = floor
        self._airing = airing
        self._desk = desk
        self._media = media

    def session(self, way: Way) -> IceDescription | None:
        """Our side of its newest ICE session; None when it is gone."""
        return self._media.ice_session(way.direction, way.name, way.peer_id)

    def restart(self, way: Way, remote: IceParameters) -> IceDescription | None:
        """New credentials for the same peer; None when it is gone."""
        return self._media.restart_ice(way.direction, way.name, remote, way.peer_id)

    def viewport(self, place_id: str, feed: Feed, width: int, height: int) -> None:
        """A visitor's player has this size now; whoever receives nothing has said nothing."""
        way = self.of_place(place_id, feed, Direction.WATCH)
        if way is not None:
            self._media.set_viewport(way.name, width, height)

    def of_encoder(self, expert_id: str, resource: str) -> Way | None:
        """WHIP: the publication of this expert that the resource is."""
        publisher = self._airing.publishers.get(expert_id)
        if publisher is None or publisher.resource is None or publisher.resource != resource:
            return None
        return Way(Direction.PUBLISH, stream_source(expert_id), publisher.peer_id)

    def of_player(self, expert_name: str, resource: str) -> Way | None:
        """WHEP: the player of this expert's stream that the resource is."""
        profile = self._floor.directory.expert_by_name(expert_name)
        watcher = None if profile is None else self._airing.player(profile.expert_id, resource)
        return None if watcher is None else Way(Direction.WATCH, watcher.viewer_id)

    def of_place(self, place_id: str, feed: Feed, direction: Direction) -> Way | None:
        """The peer connection of a visitor for a feed: their own, and nobody else's."""
        place = self._floor.places.get(place_id)
        if place is None:
            return None
        match feed:
            case Feed.STREAM:
                return self._of_stream(place, direction)
            case Feed.PRIVATE:
                return self._of_feed(place, direction)

    def _of_stream(self, place: Place, direction: Direction) -> Way | None:
        if direction is Direction.WATCH:
            watcher = self._airing.watcher_of(place.place_id)
            return None if watcher is None else Way(direction, watcher.viewer_id)
        publisher = self._airing.publishers.get(place.expert_id or "")
        if place.expert_id is None or publisher is None or publisher.place_id != place.place_id:
            return None
        return Way(direction, stream_source(place.expert_id), publisher.peer_id)

    def _of_feed(self, place: Place, direction: Direction) -> Way | None:
        live = self._desk.of_place(place)
        if live is None:
            return None
        if direction is Direction.PUBLISH:
            if place.hosting or live.feed_peer is None:
                return None
            return Way(direction, feed_source(live.session.session_id), live.feed_peer)
        if live.feed_viewer is None or live.feed_place != place.place_id:
            return None
        return Way(direction, live.feed_viewer)
