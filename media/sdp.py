"""Reads an SDP offer into typed structs, with limits; nothing but SdpRefused comes out of it.

Only what a bundled WebRTC offer needs is kept (RFC 8866, RFC 9429). What is malformed and
essential refuses the offer; what is malformed and optional is left out. Text from the offer goes
no further than these structs, and every string in them matched a pattern first.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from media.aiortc_seam import Fingerprint
from media.api import SDP_BYTES_MAX, SDP_MEDIA_SECTIONS_MAX, RefusalCode, SdpRefused

FORMATS_MAX = 64
"""Payload types per section; Chromium's video section has about 45."""
EXTENSIONS_MAX = 32
SSRCS_MAX = 32
SSRC_DIGITS_MAX = 10
"""2**32 has ten decimal digits."""
RIDS_MAX = 8
"""Encodings of one section; browsers send three."""
PARAMETERS_MAX = 24
FINGERPRINTS_MAX = 4
"""Certificate digests per offer: one each for the hashes we know, and one to spare."""

SENDING = frozenset({"sendonly", "sendrecv"})
RECEIVING = frozenset({"recvonly", "sendrecv"})
_DIRECTIONS = frozenset({"sendonly", "recvonly", "sendrecv", "inactive"})
_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"})
_SETUPS = frozenset({"actpass", "active", "passive"})
_DIGESTS = {
    name: re.compile(rf"[0-9A-F]{{2}}(?::[0-9A-F]{{2}}){{{size - 1}}}")
    for name, size in (("sha-256", 32), ("sha-384", 48), ("sha-512", 64))
}

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}\Z")
_M_LINE = re.compile(
    r"([a-z]{1,16}) (\d{1,5})(?:/\d{1,2})? ([A-Za-z/]{1,32})((?: [^ ]{1,32}){1,80})\Z"
)
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/=_-]+\Z")
_RTPMAP = re.compile(r"(\d{1,3}) ([A-Za-z0-9._-]{1,32})/(\d{1,6})(?:/(\d{1,2}))?\Z")
_EXTMAP = re.compile(r"(\d{1,3})(?:/[a-z]{1,10})? ([\x21-\x7e]{1,128})(?: .*)?\Z")
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,16}) ([0-9A-Fa-f:]{1,191})\Z")
_FEEDBACK = re.compile(r"(\d{1,3}|\*) ([a-z0-9-]{1,32}(?: [a-z0-9-]{1,32})?)\Z")
_PARAMETER = re.compile(r"([A-Za-z0-9-]{1,40})=([\x21-\x3a\x3c-\x7e]{1,128})\Z")


@dataclass(slots=True)
class OfferedFormat:
    """One payload type with its rtpmap, fmtp (keys lower case) and rtcp-fb; `name` lower case."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int
    parameters: dict[str, str] = field(default_factory=dict)
    feedback: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Transport:
    """ICE and DTLS attributes; those of the session hold for sections without their own."""

    ufrag: str | None = None
    password: str | None = None
    setup: str | None = None
    fingerprints: list[Fingerprint] = field(default_factory=list)


@dataclass(slots=True)
class OfferedSection:
    """One `m=` section. `kind` is audio, video or something that is not for us.

    `declined` is a section with port 0 that is not merely bundled (RFC 9143 §6).
    """

    kind: str
    protocol: str
    declined: bool
    payload_types: tuple[int, ...]
    transport: Transport
    mid: str | None = None
    direction: str = "sendrecv"
    bundle_only: bool = False
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    formats: dict[int, OfferedFormat] = field(default_factory=dict)
    extension_ids: dict[str, int] = field(default_factory=dict)
    ssrcs: list[int] = field(default_factory=list)
    rtx_ssrcs: dict[int, int] = field(default_factory=dict)
    rids: list[str] = field(default_factory=list)
    simulcast: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Offer:
    """A whole offer. `bundle` holds the mids of the first BUNDLE group."""

    sections: list[OfferedSection]
    bundle: tuple[str, ...]


def bad_sdp(detail: str) -> SdpRefused:
    """The refusal for an offer that cannot be understood."""
    return SdpRefused(RefusalCode.BAD_SDP, detail)


def parse_offer(text: str) -> Offer:
    """Reads an offer. Raises SdpRefused(BAD_SDP) and nothing else."""
    try:
        return _parse(text)
    except SdpRefused:
        raise
    except Exception as error:  # a boundary: whatever slipped through is the offer's fault
        raise bad_sdp("the offer cannot be read") from error


def _parse(text: str) -> Offer:
    # Cheap check first, for a text of megabytes.
    if len(text) > SDP_BYTES_MAX or len(text.encode("utf-8", "replace")) > SDP_BYTES_MAX:
        raise bad_sdp(f"the offer is larger than {SDP_BYTES_MAX} bytes")
    if _CONTROL.search(text):
        raise bad_sdp("the offer has control characters")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if lines[0] != "v=0":
        raise bad_sdp("the offer does not begin with v=0")
    session_lines: list[str] = []
    groups: list[list[str]] = []
    for line in lines[1:]:
        if line.startswith("m="):
            groups.append([line])
        else:
            (groups[-1] if groups else session_lines).append(line)
    if not groups:
        raise bad_sdp("the offer has no media")
    if len(groups) > SDP_MEDIA_SECTIONS_MAX:
        raise SdpRefused(
            RefusalCode.TOO_MANY_TRACKS,
            f"the offer has more than {SDP_MEDIA_SECTIONS_MAX} media sections",
        )
    session, bundle = _session(session_lines)
    sections = [_section(group, session) for group in groups]
    mids = [section.mid for section in sections if section.mid is not None]
    if len(set(mids)) != len(mids):
        raise bad_sdp("two media sections have the same mid")
    return Offer(sections, bundle)


def _attribute(line: str) -> tuple[str, str] | None:
    if not line.startswith("a="):
        return None
    name, _, value = line[2:].partition(":")
    return name, value.strip()


def _session(lines: list[str]) -> tuple[Transport, tuple[str, ...]]:
    transport = Transport()
    bundle: tuple[str, ...] = ()
    for line in lines:
        match _attribute(line):
            case ("group", value) if value.startswith("BUNDLE ") and not bundle:
                bundle = tuple(value.split()[1 : SDP_MEDIA_SECTIONS_MAX + 1])
            case (name, value):
                _read_transport(transport, name, value)
            case None:
                pass
    return transport, bundle


def _section(lines: list[str], session: Transport) -> OfferedSection:
    match = _M_LINE.match(lines[0][2:].rstrip())
    if match is None:
        raise bad_sdp("a media line is malformed")
    kind, port, protocol, formats = match.groups()
    media = kind in ("audio", "video")
    if media and protocol not in _PROTOCOLS:
        raise bad_sdp("only RTP over DTLS (UDP/TLS/RTP/SAVPF) is spoken here")
    section = OfferedSection(
        kind,
        protocol,
        declined=False,
        payload_types=_payload_types(formats) if media else (),
        transport=Transport(),
    )
    attributes = [found for line in lines[1:] if (found := _attribute(line)) is not None]
    # Formats first: fmtp and rtcp-fb refer to them, and some encoders write them later.
    attributes.sort(key=lambda attribute: attribute[0] != "rtpmap")
    for name, value in attributes:
        _read_transport(section.transport, name, value)
        if name in _DIRECTIONS:
            section.direction = name
        elif (reader := _READERS.get(name)) is not None:
            reader(section, value)
    section.declined = port == "0" and not section.bundle_only
    _inherit(section.transport, session)
    return section


def _payload_types(text: str) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(int(item) for item in text.split() if item.isdecimal()))
    # 64..95 would read as RTCP once multiplexed (RFC 5761 §4).
    return tuple(pt for pt in found if pt < 64 or 96 <= pt < 128)[:FORMATS_MAX]


def _inherit(transport: Transport, session: Transport) -> None:
    transport.ufrag = transport.ufrag or session.ufrag
    transport.password = transport.password or session.password
    transport.setup = transport.setup or session.setup
    transport.fingerprints = transport.fingerprints or list(session.fingerprints)


def _read_transport(transport: Transport, name: str, value: str) -> None:
    match name:
        case "ice-ufrag":
            transport.ufrag = read_ufrag(value)
        case "ice-pwd":
            transport.password = read_password(value)
        case "setup":
            if value not in _SETUPS:
                raise bad_sdp("a=setup must be actpass, active or passive")
            transport.setup = value
        case "fingerprint":
            _add_fingerprint(transport, value)
        case _:
            pass


def _ice_chars(value: str, shortest: int) -> str:
    if not shortest <= len(value) <= 256 or not _ICE_CHARS.match(value):
        raise bad_sdp("the ICE credentials are malformed")
    return value


def read_ufrag(value: str) -> str:
    """The value of `a=ice-ufrag` (RFC 8839 §5.4). Raises SdpRefused."""
    return _ice_chars(value, 4)


def read_password(value: str) -> str:
    """The value of `a=ice-pwd` (RFC 8839 §5.4). Raises SdpRefused."""
    return _ice_chars(value, 22)


def read_fingerprint(value: str) -> Fingerprint | None:
    """The value of `a=fingerprint` (RFC 8122 §5), None for a hash we do not know.

    Raises SdpRefused.
    """
    match = _FINGERPRINT.match(value)
    if match is None:
        raise bad_sdp("a certificate fingerprint is malformed")
    algorithm, digest = match[1].lower(), match[2].upper()
    pattern = _DIGESTS.get(algorithm)
    if pattern is None:
        return None  # an older hash beside a good one is no reason to refuse
    if not pattern.fullmatch(digest):
        raise bad_sdp("a certificate fingerprint has the wrong length")
    return Fingerprint(algorithm, digest)


def _add_fingerprint(transport: Transport, value: str) -> None:
    if len(transport.fingerprints) >= FINGERPRINTS_MAX:
        raise bad_sdp("an offer has too many certificate fingerprints")
    found = read_fingerprint(value)
    if found is not None:
        transport.fingerprints.append(found)


# --- attributes of a media section: each reader leaves out what it cannot read -----------------


def _read_mid(section: OfferedSection, value: str) -> None:
    if not _TOKEN.match(value):
        raise bad_sdp("a mid is malformed")
    section.mid = value


def _read_rtpmap(section: OfferedSection, value: str) -> None:
    match = _RTPMAP.match(value)
    if match is None or int(match[1]) not in section.payload_types:
        return
    section.formats[int(match[1])] = OfferedFormat(
        payload_type=int(match[1]),
        name=match[2].lower(),
        clock_rate_hz=int(match[3]),
        channels=int(match[4] or 1),
    )


def _read_fmtp(section: OfferedSection, value: str) -> None:
    payload_type, _, text = value.partition(" ")
    # At most three digits: int() itself raises for thousands of them.
    named = len(payload_type) <= 3 and payload_type.isdecimal()
    found = section.formats.get(int(payload_type)) if named else None
    if found is None:
        return
    for item in text.split(";", PARAMETERS_MAX)[:PARAMETERS_MAX]:
        if match := _PARAMETER.match(item.strip()):
            found.parameters[match[1].lower()] = match[2]


def _read_feedback(section: OfferedSection, value: str) -> None:
    match = _FEEDBACK.match(value)
    if match is None:
        return
    for payload_type, found in section.formats.items():
        if match[1] == "*" or int(match[1]) == payload_type:
            found.feedback.add(match[2])


def _read_extmap(section: OfferedSection, value: str) -> None:
    match = _EXTMAP.match(value)
    # 15 is reserved and more needs two-byte headers, which nobody here offers (RFC 8285 §4.2).
    if match is None or not 0 < int(match[1]) < 15 or int(match[1]) in _ids(section):
        return
    if len(section.extension_ids) < EXTENSIONS_MAX:
        section.extension_ids.setdefault(match[2], int(match[1]))


def _ids(section: OfferedSection) -> set[int]:
    return set(section.extension_ids.values())


def _ssrc(text: str) -> int | None:
    if len(text) > SSRC_DIGITS_MAX or not text.isdecimal():
        return None
    return int(text) if 0 < int(text) < 1 << 32 else None


def _read_ssrc(section: OfferedSection, value: str) -> None:
    ssrc = _ssrc(value.partition(" ")[0])
    if ssrc is not None and ssrc not in section.ssrcs and len(section.ssrcs) < SSRCS_MAX:
        section.ssrcs.append(ssrc)


def _read_ssrc_group(section: OfferedSection, value: str) -> None:
    match value.split():
        case ["FID", first, second]:
            media, repair = _ssrc(first), _ssrc(second)
            if media is not None and repair is not None and len(section.rtx_ssrcs) < SSRCS_MAX:
                section.rtx_ssrcs[repair] = media
        case _:
            pass


def _read_rid(section: OfferedSection, value: str) -> None:
    rid, _, direction = value.partition(" ")
    sent = re.fullmatch(r"[A-Za-z0-9_-]{1,16}", rid) and direction.startswith("send")
    if sent and len(section.rids) < RIDS_MAX and rid not in section.rids:
        section.rids.append(rid)


def _read_simulcast(section: OfferedSection, value: str) -> None:
    """RFC 8853 §5.1: of the layers to be sent, each its first alternative; `~` (paused) too."""
    words = value.split()
    layers = dict(zip(words[::2], words[1::2], strict=False)).get("send", "")
    for layer in layers.split(";", RIDS_MAX)[:RIDS_MAX]:
        rid = layer.partition(",")[0].removeprefix("~")
        if rid and rid not in section.simulcast:
            section.simulcast.append(rid)


def _flag(name: str) -> Callable[[OfferedSection, str], None]:
    def read(section: OfferedSection, value: str) -> None:
        setattr(section, name, True)

    return read


_READERS: Mapping[str, Callable[[OfferedSection, str], None]] = {
    "mid": _read_mid,
    "rtpmap": _read_rtpmap,
    "fmtp": _read_fmtp,
    "rtcp-fb": _read_feedback,
    "extmap": _read_extmap,
    "ssrc": _read_ssrc,
    "ssrc-group": _read_ssrc_group,
    "rid": _read_rid,
    "simulcast": _read_simulcast,
    "rtcp-mux": _flag("rtcp_mux"),
    "rtcp-rsize": _flag("rtcp_rsize"),
    "bundle-only": _flag("bundle_only"),
}
