"""What the media plane reports, turned into presence, quality and broken feeds."""

from media.api import (
    Direction,
    Kind,
    MediaEvent,
    QualityChanged,
    SourceFresh,
    SourceGone,
    SourceKinds,
    SourceStale,
    SourceUp,
    ViewerGone,
    ViewerUp,
)
from rooms.airing import Airing, expert_of_stream
from rooms.events import Feed, FeedStopped
from rooms.floor import Floor
from rooms.member_feed import session_of_feed
from rooms.private_desk import PrivateDesk
from rooms.quality import QualityNews


class MediaListener:
    """Synchronous; called by the media plane between two packets."""

    def __init__(
        self, floor: Floor, airing: Airing, desk: PrivateDesk, quality: QualityNews
    ) -> None:
        self._floor = floor
        self._quality = quality
        self._airing = airing
        self._desk = desk

    def on_media(self, event: MediaEvent) -> None:
        """The media plane's events."""
        match event:
            case SourceUp(source_id=source_id, kinds=kinds):
                self._stream_kinds(source_id, kinds)
                self._stream_fresh(source_id, True)
            case SourceFresh(source_id=source_id):
                self._stream_fresh(source_id, True)
            case SourceStale(source_id=source_id):
                self._stream_fresh(source_id, False)
            case SourceKinds(source_id=source_id, kinds=kinds):
                self._stream_kinds(source_id, kinds)
            case SourceGone(source_id=source_id, peer_id=peer_id, reason=reason):
                self._source_gone(source_id, peer_id, reason)
            case ViewerGone(viewer_id=viewer_id, reason=reason):
                self._viewer_gone(viewer_id, reason)
            case ViewerUp():
                pass
            case QualityChanged():
                self._quality.changed(event)

    def _stream_fresh(self, source_id: str, fresh: bool) -> None:
        expert_id = expert_of_stream(source_id)
        if expert_id is not None:
            self._airing.stream_fresh(expert_id, fresh)

    def _stream_kinds(self, source_id: str, kinds: frozenset[Kind]) -> None:
        expert_id = expert_of_stream(source_id)
        if expert_id is not None:
            self._floor.room(expert_id).has_sound = Kind.AUDIO in kinds
            self._floor.announce(expert_id)

    def _source_gone(self, source_id: str, peer_id: str, reason: str) -> None:
        expert_id = expert_of_stream(source_id)
        if expert_id is not None:
            place_id = self._airing.publisher_gone(expert_id, peer_id)
            if place_id is not None:
                stopped = FeedStopped(Feed.STREAM, Direction.PUBLISH, reason)
                self._floor.tell(place_id, stopped)
            return
        live = self._desk.sessions.get(session_of_feed(source_id) or "")
        if live is not None and live.feed_peer == peer_id:
            stopped = FeedStopped(Feed.PRIVATE, Direction.PUBLISH, reason)
            live.feed_peer = None
            self._floor.tell(live.session.member_place, stopped)

    def _viewer_gone(self, viewer_id: str, reason: str) -> None:
        watcher = self._airing.watchers.get(viewer_id)
        if watcher is not None:
            self._airing.watcher_gone(watcher)
            if watcher.place_id is not None:
                stopped = FeedStopped(Feed.STREAM, Direction.WATCH, reason)
                self._floor.tell(watcher.place_id, stopped)
            return
        live = self._desk.of_feed_viewer(viewer_id)
        if live is not None:
            live.feed_viewer = None
            stopped = FeedStopped(Feed.PRIVATE, Direction.WATCH, reason)
            self._floor.tell(live.feed_place, stopped)
