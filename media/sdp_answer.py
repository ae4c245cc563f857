"""Decides what of an offer is taken: tracks, codecs, header extensions and DTLS roles.

Per codec family exactly one payload type is taken, with its RTX; `media.sdp_write` writes it down.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from media.aiortc_seam import Fingerprint
from media.api import IceParameters, Kind, RefusalCode, SdpRefused
from media.links import LAYERS_MAX, CodecFormat, PublishedTrack, ViewerTrack
from media.rtp import URI_REPAIRED_RID, URI_RID, URI_TRANSPORT_WIDE
from media.sdp import (
    RECEIVING,
    SENDING,
    Offer,
    OfferedFormat,
    OfferedSection,
    Transport,
    bad_sdp,
)

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

MID_EXTENSION_BYTES_MAX = 16
"""What fits a one-byte header extension (RFC 8285 §4.2)."""

CODEC_NAMES = {"vp8": "VP8", "h264": "H264", "vp9": "VP9", "av1": "AV1", "opus": "opus"}
_KIND_NAMES = {
    Kind.VIDEO: ("vp8", "h264", "vp9", "av1"),
    Kind.AUDIO: ("opus",),
}
_EXTENSIONS = {
    Kind.VIDEO: (MID_URI, ABS_SEND_TIME_URI),
    Kind.AUDIO: (MID_URI, ABS_SEND_TIME_URI, AUDIO_LEVEL_URI),
}
_LAYER_EXTENSIONS = (URI_RID, URI_REPAIRED_RID)
_FEEDBACK = {
    Kind.VIDEO: frozenset({"nack", "nack pli", "ccm fir", "goog-remb"}),
    Kind.AUDIO: frozenset({"nack"}),
}
_TRANSPORT_FEEDBACK = "transport-cc"
_H264_PROFILE = re.compile(r"[0-9a-f]{6}\Z")
_VIDEO_CLOCK_HZ = 90_000
_OPUS_CLOCK_HZ = 48_000


@dataclass(frozen=True, slots=True)
class AcceptedSection:
    """One media section of the answer; `sends` when we send on it, else we receive.

    `rids` are the simulcast layers that we take, in the order of the offer.
    """

    kind: Kind
    protocol: str
    mid: str | None
    rtcp_rsize: bool
    formats: tuple[CodecFormat, ...]
    extension_ids: Mapping[str, int]
    rids: tuple[str, ...]
    sends: bool


@dataclass(frozen=True, slots=True)
class RejectedSection:
    """A media section answered with port 0."""

    kind: str
    protocol: str
    mid: str | None


@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """How to recognise the peer; `we_are_server` is our DTLS role."""

    ice: IceParameters
    fingerprints: tuple[Fingerprint, ...]
    we_are_server: bool


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The outcome for one offer; exactly one of the two track tuples is filled."""

    remote: RemoteTransport
    sections: tuple[AcceptedSection | RejectedSection, ...]
    published: tuple[PublishedTrack, ...] = ()
    watched: tuple[ViewerTrack, ...] = ()

    @property
    def accepted(self) -> list[AcceptedSection]:
        """The sections that are used, never none."""
        return [s for s in self.sections if isinstance(s, AcceptedSection)]


@dataclass(slots=True)
class _Taken:
    """A section with the formats that were chosen for it."""

    section: OfferedSection
    kind: Kind
    formats: tuple[CodecFormat, ...]
    rids: tuple[str, ...] = ()

    @property
    def mid(self) -> str:
        return self.section.mid or ""

    def extension_ids(self) -> dict[str, int]:
        offered = self.section.extension_ids
        too_long = not 0 < len(self.mid) <= MID_EXTENSION_BYTES_MAX
        found = {
            uri: offered[uri]
            for uri in _EXTENSIONS[self.kind] + (_LAYER_EXTENSIONS if self.rids else ())
            if uri in offered and not (uri == MID_URI and too_long)
        }
        if any(_TRANSPORT_FEEDBACK in codec.feedback for codec in self.formats):
            found[URI_TRANSPORT_WIDE] = offered[URI_TRANSPORT_WIDE]
        return found


def negotiate_publish(offer: Offer, allowed: frozenset[Kind]) -> Negotiated:
    """Takes at most one sending section per allowed kind; the others are answered with port 0.

    Raises SdpRefused: `too_many_tracks`, `codec_unsupported` or `bad_sdp`.
    """
    taken = _take(offer, allowed, SENDING, receiving_from_peer=True)
    tracks = tuple(
        PublishedTrack(
            kind=item.kind,
            mid=item.mid,
            formats=item.formats,
            extension_ids=item.extension_ids(),
            rids=item.rids,
            ssrcs=tuple(s for s in item.section.ssrcs if s not in item.section.rtx_ssrcs),
            rtx_ssrcs=dict(item.section.rtx_ssrcs),
        )
        for item in taken
    )
    sections = _sections(offer, taken, sends=False)
    return Negotiated(_remote(offer, taken), sections, published=tracks)


def negotiate_watch(offer: Offer, *, new_ssrc: Callable[[], int]) -> Negotiated:
    """Takes at most one receiving section per kind and gives each its SSRCs.

    Raises SdpRefused: `too_many_tracks`, `codec_unsupported` or `bad_sdp`.
    """
    taken = _take(offer, frozenset(Kind), RECEIVING, receiving_from_peer=False)
    tracks: list[ViewerTrack] = []
    for item in taken:
        formats = item.formats
        with_rtx = any(f.rtx_payload_type is not None for f in formats)
        tracks.append(
            ViewerTrack(
                kind=item.kind,
                mid=item.mid,
                ssrc=new_ssrc(),
                rtx_ssrc=new_ssrc() if with_rtx else None,
                formats=formats,
                extension_ids=item.extension_ids(),
            )
        )
    sections = _sections(offer, taken, sends=True)
    return Negotiated(_remote(offer, taken), sections, watched=tuple(tracks))


def _take(
    offer: Offer,
    kinds: frozenset[Kind],
    directions: frozenset[str],
    *,
    receiving_from_peer: bool,
) -> list[_Taken]:
    taken: list[_Taken] = []
    for section in offer.sections:
        wanted = not section.declined and section.direction in directions
        if not wanted or section.kind not in kinds:
            continue
        kind = Kind(section.kind)
        if any(item.kind is kind for item in taken):
            raise SdpRefused(
                RefusalCode.TOO_MANY_TRACKS, f"only one {kind} track fits one connection"
            )
        formats = _choose_formats(section, kind, receiving_from_peer=receiving_from_peer)
        rids = _layers(section, kind) if receiving_from_peer else ()
        taken.append(_Taken(section, kind, formats, rids))
    if not taken:
        doing = "sent" if receiving_from_peer else "received"
        raise bad_sdp(f"the offer has no audio or video that may be {doing} here")
    _check_transport_use(offer, taken)
    return taken


def _layers(section: OfferedSection, kind: Kind) -> tuple[str, ...]:
    """The simulcast layers to take; none unless their packets can be told apart (RFC 8852)."""
    if kind is not Kind.VIDEO or URI_RID not in section.extension_ids:
        return ()
    rids = tuple(rid for rid in section.simulcast if rid in section.rids)[:LAYERS_MAX]
    return rids if len(rids) > 1 else ()


def _check_transport_use(offer: Offer, taken: list[_Taken]) -> None:
    if len(taken) > 1 and any(item.mid not in offer.bundle for item in taken):
        raise bad_sdp("audio and video must be in one BUNDLE group")
    if not any(item.section.rtcp_mux for item in taken):
        raise bad_sdp("a=rtcp-mux is needed")
    codecs = [codec for item in taken for codec in item.formats]
    used = [codec.payload_type for codec in codecs]
    used += [c.rtx_payload_type for c in codecs if c.rtx_payload_type is not None]
    if len(set(used)) != len(used):
        raise bad_sdp("a payload type is used twice")


def _choose_formats(
    section: OfferedSection, kind: Kind, *, receiving_from_peer: bool
) -> tuple[CodecFormat, ...]:
    """The best payload type of each codec that both know, in the order of the offer."""
    best: dict[str, tuple[int, OfferedFormat]] = {}
    for payload_type in section.payload_types:
        offered = section.formats.get(payload_type)
        if offered is None or offered.name not in _KIND_NAMES[kind]:
            continue
        rank = _rank(offered, receiving_from_peer=receiving_from_peer)
        known = best.get(offered.name)
        if rank > 0 and (known is None or rank > known[0]):
            best[offered.name] = (rank, offered)
    if not best:
        raise SdpRefused(RefusalCode.CODEC_UNSUPPORTED, _unsupported(section, kind))
    return tuple(
        _codec_format(section, offered, _agreed(section, kind, offered, receiving_from_peer))
        for _, offered in best.values()
    )


def _agreed(
    section: OfferedSection, kind: Kind, offered: OfferedFormat, receiving_from_peer: bool
) -> frozenset[str]:
    """The rtcp-fb of a format.

    A publisher that numbers its packets transport-wide is told their arrivals and estimates for
    itself; an estimate of ours (REMB) beside that only holds it back. A viewer makes the estimate.
    """
    agreed = _FEEDBACK[kind] & offered.feedback
    numbered = receiving_from_peer and URI_TRANSPORT_WIDE in section.extension_ids
    if numbered and _TRANSPORT_FEEDBACK in offered.feedback:
        return agreed - {"goog-remb"} | {_TRANSPORT_FEEDBACK}
    return agreed


def _rank(offered: OfferedFormat, *, receiving_from_peer: bool) -> int:
    """0 when we cannot forward it; more is better."""
    parameters = offered.parameters
    match offered.name:
        case "opus":
            return int(offered.clock_rate_hz == _OPUS_CLOCK_HZ and offered.channels == 2)
        case "h264":
            return _h264_rank(offered, receiving_from_peer=receiving_from_peer)
        case "vp9":
            usable = parameters.get("profile-id", "0") == "0"
        case "av1":
            usable = parameters.get("profile", "0") == "0"
        case _:
            usable = True
    return int(usable and offered.clock_rate_hz == _VIDEO_CLOCK_HZ)


def _h264_rank(offered: OfferedFormat, *, receiving_from_peer: bool) -> int:
    """Constrained baseline is what every decoder knows; 8-bit 4:2:0 up to High passes too.

    Mode 0 (no fragments) is a subset of mode 1, so we may receive it, but a viewer that knows
    only mode 0 cannot be served.
    """
    profile = offered.parameters.get("profile-level-id", "42000a").lower()
    mode = offered.parameters.get("packetization-mode", "0")
    if offered.clock_rate_hz != _VIDEO_CLOCK_HZ or not _H264_PROFILE.match(profile):
        return 0
    profile_idc, constraints = int(profile[:2], 16), int(profile[2:4], 16)
    match profile_idc:
        case 0x42:
            rank = 6 if constraints & 0x40 else 5
        case 0x4D:
            rank = 4
        case 0x64:
            rank = 3
        case _:
            return 0
    if mode == "1":
        return rank + 10
    return rank if mode == "0" and receiving_from_peer else 0


def _unsupported(section: OfferedSection, kind: Kind) -> str:
    ours = ", ".join(CODEC_NAMES[name] for name in _KIND_NAMES[kind])
    # Names matched a token pattern when they were parsed; resilience formats are no codecs.
    helpers = {"rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "cn"}
    theirs = list(dict.fromkeys(f.name.upper() for f in section.formats.values()))
    shown = ", ".join(name for name in theirs[:6] if name.lower() not in helpers)
    if any(name in _KIND_NAMES[kind] for name in (t.lower() for t in theirs)):
        shown += " (in a profile that cannot be forwarded)"
    return f"{kind}: {ours} can be forwarded here, the offer has {shown or 'no codec'}"


def _codec_format(
    section: OfferedSection, offered: OfferedFormat, feedback: frozenset[str]
) -> CodecFormat:
    apt = str(offered.payload_type)
    rtx = next(
        (
            f.payload_type
            for f in section.formats.values()
            if f.name == "rtx" and f.parameters.get("apt") == apt
        ),
        None,
    )
    return CodecFormat(
        name=offered.name,
        payload_type=offered.payload_type,
        clock_rate_hz=offered.clock_rate_hz,
        rtx_payload_type=rtx,
        parameters=dict(offered.parameters),
        feedback=feedback,
    )


def _remote(offer: Offer, taken: list[_Taken]) -> RemoteTransport:
    """The transport of the bundle: sections that are merely bundled may have no own (RFC 9143)."""
    bundled = [s for s in offer.sections if s.mid is not None and s.mid in offer.bundle]
    candidates: Iterable[Transport] = [item.section.transport for item in taken] + [
        section.transport for section in bundled
    ]
    for transport in candidates:
        if transport.ufrag and transport.password and transport.fingerprints:
            return RemoteTransport(
                IceParameters(transport.ufrag, transport.password),
                tuple(transport.fingerprints),
                transport.setup != "passive",
            )
    raise bad_sdp("ICE credentials or a sha-256 certificate fingerprint are missing")


def _sections(
    offer: Offer, taken: list[_Taken], *, sends: bool
) -> tuple[AcceptedSection | RejectedSection, ...]:
    by_section = {id(item.section): item for item in taken}
    sections: list[AcceptedSection | RejectedSection] = []
    for section in offer.sections:
        item = by_section.get(id(section))
        if item is None:
            sections.append(RejectedSection(section.kind, section.protocol, section.mid))
            continue
        sections.append(
            AcceptedSection(
                kind=item.kind,
                protocol=section.protocol,
                mid=section.mid,
                rtcp_rsize=section.rtcp_rsize,
                formats=item.formats,
                extension_ids=item.extension_ids(),
                rids=item.rids,
                sends=sends,
            )
        )
    return tuple(sections)
