"""The two engines as the rooms see them: what media and money must offer, and nothing more."""

from typing import Protocol

from billing_meter.ledger_store import Balance
from billing_meter.meter import HeldMedia, Leeway, SessionOrder, Summary
from billing_meter.tariff import Component
from billing_meter.till import Opened, Refused, Switched
from media.api import (
    BOTH_KINDS,
    Answer,
    BusyReason,
    Direction,
    IceDescription,
    IceParameters,
    Kind,
    PeerFigures,
)
from media.still import Still


class MediaEngine(Protocol):
    """The forwarding plane. Everything but offers is synchronous.

    Closing a peer tells its end (`SourceGone`, `ViewerGone`) before the call returns.
    """

    @property
    def busy(self) -> BusyReason | None:
        """Why another viewer would hurt those who watch already; None while there is room."""
        ...

    async def publish(
        self,
        source_id: str,
        offer_sdp: str,
        *,
        allowed: frozenset[Kind],
        replace: bool = False,
    ) -> Answer:
        """Answer an offer to send; raises `media.api.SdpRefused`."""
        ...

    async def watch(self, viewer_id: str, offer_sdp: str) -> Answer:
        """Answer an offer to receive; raises `media.api.SdpRefused`."""
        ...

    def ice_session(
        self, direction: Direction, name: str, peer_id: str | None = None
    ) -> IceDescription | None:
        """Our side of a peer's newest ICE session; with `peer_id`, only of this connection."""
        ...

    def restart_ice(
        self, direction: Direction, name: str, remote: IceParameters, peer_id: str | None = None
    ) -> IceDescription | None:
        """New credentials for the same peer; what it may receive does not change."""
        ...

    def close_publisher(self, source_id: str, reason: str, peer_id: str | None = None) -> None:
        """Close the source's publisher; with `peer_id`, only if it is still this one."""
        ...

    def close_viewer(self, viewer_id: str, reason: str) -> None:
        """Close the viewer's peer connection."""
        ...

    def forward(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        """A free row."""
        ...

    def forward_gated(self, source_id: str, viewer_id: str, kinds: frozenset[Kind]) -> HeldMedia:
        """A private row, closed until its gate is opened."""
        ...

    def stop(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        """Remove these rows between the two before anything else happens."""
        ...

    def seal(self, source_id: str) -> None:
        """Drop all rows of the source and forget its ring and keyframes."""
        ...

    def set_viewport(self, viewer_id: str, width: int, height: int) -> None:
        """The size of the viewer's picture in device pixels."""
        ...

    def figures(self, direction: Direction, name: str) -> PeerFigures | None:
        """What is known of a peer, by source id (publish) or viewer id; None when not connected."""
        ...

    def still(self, source_id: str) -> Still | None:
        """The source's last keyframe, encoded; None when there is none at the moment."""
        ...


class StillDecoder(Protocol):
    """What makes a small picture of a still, in a process of its own."""

    async def picture(self, still: Still) -> bytes | None:
        """A small WebP, None when there is none to be had; never raises, takes seconds at most."""
        ...


class MeterEngine(Protocol):
    """The till of private sessions."""

    async def open(self, order: SessionOrder) -> Opened | Refused:
        """Make the session durable and take its first hold."""
        ...

    def attach(self, session_id: str, component: Component, gate: HeldMedia) -> None:
        """This gate's held media is this component's time; a new one replaces the old."""
        ...

    async def switch(self, session_id: str, component: Component, on: bool) -> Switched | Refused:
        """Switch a surcharge; its hold is durable before this returns."""
        ...

    def look(self, session_id: str) -> None:
        """See what passed by now; what there is to be told is told before this returns."""
        ...

    def cut(self, session_id: str, reason: str) -> None:
        """Gates shut and the count at its end, without waiting; `close` is still to come."""
        ...

    async def close(self, session_id: str, reason: str) -> Summary:
        """Gates shut first, then the final post. Idempotent."""
        ...


class Purse(Protocol):
    """Members' balances and limits, read-only."""

    @property
    def writable(self) -> bool:
        """Whether the ledger takes writes, as far as is known; else nothing can be started."""
        ...

    async def balance(self, member_id: str) -> Balance:
        """The member's balance now."""
        ...

    async def leeway(self, member_id: str) -> Leeway:
        """What the member's own limits leave now."""
        ...
