"""Live thumbnails: a small picture of each free stream that somebody looks at a card of.

Law: no picture is ever made of private media. A still is taken only while the room is free and
live; when the stream is cut (private, offline), what was made is forgotten before anything else
happens, and what is being made is thrown away; and the room is looked at again before a picture
is handed out.
"""

import hashlib
from dataclasses import dataclass

from rooms.airing import Airing, stream_source
from rooms.engines import MediaEngine, StillDecoder
from rooms.floor import Floor
from rooms.limits import (
    THUMBNAIL_ASKED_NS,
    THUMBNAIL_NS,
    THUMBNAIL_RETRY_NS,
    THUMBNAILS_PER_STEP_MAX,
)
from rooms.presence import PresenceState

_FREE = frozenset({PresenceState.LIVE_FREE, PresenceState.RINGING})


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A WebP and the name of its content."""

    webp: bytes
    etag: str


@dataclass(slots=True)
class _Card:
    """One expert whose card somebody looks at."""

    asked_ns: int
    due_ns: int
    shown: Thumbnail | None = None


class Thumbnails:
    """All experts' pictures, and which is made next."""

    def __init__(self, floor: Floor, airing: Airing, media: MediaEngine) -> None:
        self._floor = floor
        self._media = media
        self._cards: dict[str, _Card] = {}
        airing.on_cut = self._forget

    def ask(self, expert_id: str) -> Thumbnail | None:
        """The picture to show now; asking is what keeps it being made."""
        if not self._free(expert_id):
            self._forget(expert_id)
            return None
        now_ns = self._floor.clock_ns()
        card = self._cards.setdefault(expert_id, _Card(now_ns, now_ns))
        card.asked_ns = now_ns
        return card.shown

    async def step(self, decoder: StillDecoder) -> None:
        """Make what is due, one after the other, the longest due first."""
        for _ in range(THUMBNAILS_PER_STEP_MAX):
            expert_id = self._next()
            if expert_id is None:
                return
            await self._make(expert_id, decoder)

    def _next(self) -> str | None:
        now_ns = self._floor.clock_ns()
        for expert_id, card in tuple(self._cards.items()):
            if now_ns - card.asked_ns > THUMBNAIL_ASKED_NS or not self._free(expert_id):
                self._forget(expert_id)
        due = [(card.due_ns, name) for name, card in self._cards.items() if card.due_ns <= now_ns]
        return min(due)[1] if due else None

    async def _make(self, expert_id: str, decoder: StillDecoder) -> None:
        card = self._cards[expert_id]
        still = self._media.still(stream_source(expert_id))
        wait_ns = THUMBNAIL_RETRY_NS if still is None else THUMBNAIL_NS
        card.due_ns = self._floor.clock_ns() + wait_ns
        if still is None:
            return
        webp = await decoder.picture(still)
        # A card that was forgotten meanwhile is another object now, or none.
        if webp is not None and self._cards.get(expert_id) is card and self._free(expert_id):
            card.shown = Thumbnail(webp, hashlib.sha256(webp).hexdigest()[:16])

    def _free(self, expert_id: str) -> bool:
        room = self._floor.rooms.get(expert_id)
        if room is None or room.sealed or not room.presence.media_fresh:
            return False
        return room.presence.shown(self._floor.clock_ns()).state in _FREE

    def _forget(self, expert_id: str) -> None:
        self._cards.pop(expert_id, None)
