"""Every name of aiortc and aioice that is not public, and why the clients need it.

Three needs: a candidate on the loopback interface, word of a wanted keyframe for packets that we
encoded ourselves, and reception without a decoder thread. Written against aiortc 1.16.0 and
aioice 0.13.0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from aiortc import RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcrtpparameters import (
    RTCRtpCodecCapability,
    RTCRtpCodecParameters,
    RTCRtpReceiveParameters,
)
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtpPacket,
    unpack_remb_fci,
)

LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")


def offer_loopback(peer: RTCPeerConnection) -> None:
    """Let `peer` also gather candidates on the loopback interface.

    aioice leaves 127.0.0.1 out, as browsers do. A Parlour server on its default address is there
    and only there; on a machine without any other address nothing would be gathered at all.
    Call it after the transceivers were added and before `setLocalDescription`.
    """
    for transceiver in peer.getTransceivers():
        connection = cast(Any, transceiver.sender.transport.transport)._connection
        if getattr(connection, "_parlour_loopback", False):
            continue
        connection._parlour_loopback = True
        gather = connection.get_component_candidates

        async def with_loopback(
            component: int, addresses: list[str], gather: Any = gather, timeout: int = 5
        ) -> Any:
            missing = [one for one in LOOPBACK_ADDRESSES if one not in addresses]
            return await gather(component, [*addresses, *missing], timeout)

        connection.get_component_candidates = with_loopback


def on_feedback(
    sender: RTCRtpSender,
    *,
    keyframe_wanted: Callable[[], None],
    bitrate_wanted: Callable[[int], None],
    heard: Callable[[], None],
) -> None:
    """Report what the server says about this sender's packets; all three run on the loop.

    `keyframe_wanted` on PLI and FIR, `bitrate_wanted(bits_per_s)` on REMB, `heard` on any RTCP.
    aiortc keeps PLI for its own encoder, which packets that are already encoded never meet.
    """
    inner = cast(Any, sender)
    handle: Callable[[AnyRtcpPacket], Awaitable[None]] = inner._handle_rtcp_packet

    async def handle_and_tell(packet: AnyRtcpPacket) -> None:
        heard()
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            estimate = _remb_of(packet, inner._ssrc)
            if estimate is not None:
                bitrate_wanted(estimate)
        await handle(packet)

    inner._handle_rtcp_packet = handle_and_tell
    inner._send_keyframe = keyframe_wanted


def _remb_of(packet: RtcpPsfbPacket, ssrc: int) -> int | None:
    try:
        bits_per_s, ssrcs = unpack_remb_fci(packet.fci)
    except ValueError:
        return None
    return int(bits_per_s) if ssrc in ssrcs else None


def prefer_codec(transceiver: RTCRtpTransceiver, name: str) -> None:
    """Offer only the codec called `name` ("VP8", "H264", "opus"), with retransmission for video.

    aiortc sends with the first codec of the answer, so a packet that is already encoded leaves
    no choice to offer. Of the two H.264 profiles that aiortc knows, the constrained baseline is
    offered, like OBS does: it is the one that every receiver takes.
    """
    wanted: list[RTCRtpCodecCapability] = []
    for capability in RTCRtpSender.getCapabilities(transceiver.kind).codecs:
        codec = capability.mimeType.split("/")[1]
        if codec == "rtx":
            wanted.append(capability)
        elif codec.lower() == name.lower() and (
            capability.parameters.get("profile-level-id", "42e01f") == "42e01f"
        ):
            wanted.insert(0, capability)
    transceiver.setCodecPreferences(wanted)


def negotiated_codecs(transceiver: RTCRtpTransceiver) -> list[RTCRtpCodecParameters]:
    """The codecs both sides know, in the answer's order; empty before the answer."""
    return list(cast(Any, transceiver)._codecs)


class Sink(Protocol):
    """Takes packets that were received and not decoded; the names are those aiortc calls."""

    def _handle_disconnect(self) -> None: ...
    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None: ...
    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None: ...


def receive_into(transceiver: RTCRtpTransceiver, sink: Sink) -> None:
    """Give this transceiver's packets to `sink`; aiortc's decoder thread never starts."""
    receiver = cast(Any, transceiver.receiver)

    async def register(parameters: RTCRtpReceiveParameters) -> None:
        receiver.transport._register_rtp_receiver(sink, parameters)

    receiver.receive = register


def own_ssrc(transceiver: RTCRtpTransceiver) -> int:
    """The SSRC under which this side's reports go out."""
    return int(cast(Any, transceiver.sender)._ssrc)


async def send_rtcp(transceiver: RTCRtpTransceiver, packets: list[AnyRtcpPacket]) -> None:
    """Send a compound RTCP packet; a connection that is not up swallows it."""
    try:
        await cast(Any, transceiver.receiver.transport)._send_rtp(b"".join(map(bytes, packets)))
    except ConnectionError:
        return
