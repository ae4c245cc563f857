"""Writes an answer: ICE-lite, bundled, with all candidates in it (RFC 8866, RFC 8839).

Nothing is copied from the offer but numbers, mids and protocols that matched a pattern, and names
from our own tables.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from media.api import Kind
from media.links import ViewerTrack
from media.quality import FIRST_BPS, most_bps
from media.sdp_answer import CODEC_NAMES, AcceptedSection, Negotiated, RejectedSection

TCP_TYPE_PREFERENCE = 90
"""Below UDP host candidates, 126 (RFC 6544 §4.2): a lost packet holds up those behind it."""
TCP_PASSIVE_PREFERENCE = 4
"""RFC 6544 §4.2: the direction's part of the local preference."""


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """What is one peer's own on our side of an answer.

    `cname` and `stream_id` are random names for what we send (RFC 7022).
    """

    ufrag: str
    password: str
    sha256_fingerprint: str
    session_id: int
    cname: str
    stream_id: str


class AnswerForm:
    """An answer but for what is one peer's own: its lines hold for every offer of the same kind.

    `candidates` are (ip, port), the most reachable first, UDP and TCP.
    """

    def __init__(self, negotiated: Negotiated, candidates: tuple[tuple[str, int], ...]) -> None:
        bundle = " ".join(s.mid for s in negotiated.accepted if s.mid is not None)
        head = [" 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=ice-lite", "a=ice-options:trickle"]
        if bundle:
            head.append(f"a=group:BUNDLE {bundle}")
        head.append("a=msid-semantic: WMS *")
        self._head = _text(head)
        self._setup = "passive" if negotiated.remote.we_are_server else "active"
        self._sections = [_section(section, candidates) for section in negotiated.sections]

    def write(self, watched: tuple[ViewerTrack, ...], local: LocalTransport) -> str:
        """The answer as text, CRLF line ends (RFC 8866 §5); `watched` are the tracks we send."""
        transport = (
            f"a=ice-ufrag:{local.ufrag}\r\na=ice-pwd:{local.password}\r\n"
            f"a=fingerprint:sha-256 {local.sha256_fingerprint}\r\na=setup:{self._setup}\r\n"
        )
        tracks = {track.kind: track for track in watched}
        parts = ["v=0\r\no=- ", str(local.session_id), self._head]
        for opening, kind, media, end in self._sections:
            parts.append(opening)
            if kind is not None:
                parts += (transport, media)
                track = tracks.get(kind)
                if track is not None:
                    parts.append(_ssrc_text(track, local))
                parts.append(end)
        return "".join(parts)


_Section = tuple[str, Kind | None, str, str]
"""Of an accepted one what stands before the transport, its kind, what stands after the transport,
and what ends it. Of a rejected one the whole and no kind."""


def _section(
    section: AcceptedSection | RejectedSection, candidates: tuple[tuple[str, int], ...]
) -> _Section:
    match section:
        case AcceptedSection():
            opening = _text(_opening_lines(section, candidates[0]))
            media = _text(_media_lines(section))
            return opening, section.kind, media, _text(_candidate_lines(candidates))
        case RejectedSection():
            return _text(_rejected_lines(section)), None, "", ""


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"


def _opening_lines(section: AcceptedSection, candidate: tuple[str, int]) -> list[str]:
    ip, port = candidate
    payload_types = [
        pt
        for codec in section.formats
        for pt in (codec.payload_type, codec.rtx_payload_type)
        if pt is not None
    ]
    formats = " ".join(str(pt) for pt in payload_types)
    lines = [
        f"m={section.kind} {port} {section.protocol} {formats}",
        f"c=IN IP{ipaddress.ip_address(ip).version} {ip}",
    ]
    if not section.sends and section.kind is Kind.VIDEO:
        # RFC 3890: what its own estimate may never exceed.
        lines.append(f"b=TIAS:{most_bps(len(section.rids))}")
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    return lines


def _media_lines(section: AcceptedSection) -> list[str]:
    lines = ["a=sendonly" if section.sends else "a=recvonly", "a=rtcp-mux"]
    if section.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    lines += [f"a=extmap:{number} {uri}" for uri, number in section.extension_ids.items()]
    channels = "/2" if section.kind is Kind.AUDIO else ""
    for codec in section.formats:
        pt, clock = codec.payload_type, codec.clock_rate_hz
        lines.append(f"a=rtpmap:{pt} {CODEC_NAMES[codec.name]}/{clock}{channels}")
        lines += [f"a=rtcp-fb:{pt} {value}" for value in sorted(codec.feedback)]
        parameters = _parameters(codec.name, codec.parameters)
        if section.kind is Kind.VIDEO and "transport-cc" in codec.feedback:
            first = f"x-google-start-bitrate={FIRST_BPS // 1_000}"
            parameters = f"{parameters};{first}" if parameters else first
        if parameters:
            lines.append(f"a=fmtp:{pt} {parameters}")
        if codec.rtx_payload_type is not None:
            lines.append(f"a=rtpmap:{codec.rtx_payload_type} rtx/{clock}")
            lines.append(f"a=fmtp:{codec.rtx_payload_type} apt={pt}")
    if section.rids:  # RFC 8853 §5.3: what was offered to be sent is received
        lines += [f"a=rid:{rid} recv" for rid in section.rids]
        lines.append(f"a=simulcast:recv {';'.join(section.rids)}")
    return lines


def _parameters(name: str, offered: Mapping[str, str]) -> str:
    match name:
        case "opus":
            stereo = "1" in (offered.get("stereo"), offered.get("sprop-stereo"))
            # Each side says what it likes to receive (RFC 7587 §6.1): to a publisher this switches
            # on both, and a viewer reads that both may come.
            return "minptime=10;useinbandfec=1;usedtx=1" + (";stereo=1" if stereo else "")
        case "h264":
            profile = offered.get("profile-level-id", "42000a").lower()
            mode = int(offered.get("packetization-mode") == "1")
            return f"level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}"
        case "vp9":
            return "profile-id=0" if "profile-id" in offered else ""
        case _:
            return ""


def _ssrc_text(track: ViewerTrack, local: LocalTransport) -> str:
    msid = f"{local.stream_id} {local.stream_id}{track.kind}"
    lines = [f"a=msid:{msid}"]
    if track.rtx_ssrc is not None:
        lines.append(f"a=ssrc-group:FID {track.ssrc} {track.rtx_ssrc}")
    for ssrc in (track.ssrc, track.rtx_ssrc):
        if ssrc is not None:
            lines += (f"a=ssrc:{ssrc} cname:{local.cname}", f"a=ssrc:{ssrc} msid:{msid}")
    return _text(lines)


def candidate_values(candidates: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Host candidates as values of `a=candidate:`, earlier ones preferred (RFC 8445 §5.1.2.1).

    After all UDP ones come passive TCP ones (RFC 6544 §4.5) with the same numbers: the client
    connects.
    """
    udp, tcp = [], []
    for index, (ip, port) in enumerate(candidates):
        priority = (126 << 24) | ((65_535 - index) << 8) | 255
        udp.append(f"{index + 1} 1 udp {priority} {ip} {port} typ host")
        preference = TCP_PASSIVE_PREFERENCE << 13 | (8_191 - index)
        priority = (TCP_TYPE_PREFERENCE << 24) | (preference << 8) | 255
        foundation = len(candidates) + index + 1
        tcp.append(f"{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive")
    return (*udp, *tcp)


def _candidate_lines(candidates: tuple[tuple[str, int], ...]) -> list[str]:
    lines = [f"a=candidate:{value}" for value in candidate_values(candidates)]
    return [*lines, "a=end-of-candidates"]


def _rejected_lines(section: RejectedSection) -> list[str]:
    data = section.kind == "application"
    protocol, form = ("UDP/DTLS/SCTP", "webrtc-datachannel") if data else (section.protocol, "0")
    lines = [f"m={section.kind} 0 {protocol} {form}", "c=IN IP4 0.0.0.0"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    return [*lines, "a=inactive"]
