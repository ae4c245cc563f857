"""Reads and writes SDP fragments of trickle ICE and ICE restarts (RFC 8840 §9, RFC 9725 §4.3).

A fragment names one ICE session, since all media of a peer are bundled. Candidates are read and
counted, and used for nothing: a lite agent learns addresses from checks.
"""

import re
from dataclasses import dataclass, field

from media.api import SDP_MEDIA_SECTIONS_MAX, IceDescription, IceParameters

FRAGMENT_BYTES_MAX = 16 * 1024
"""Candidates of a machine with many interfaces: about 100 bytes each."""
CANDIDATES_MAX = 128
"""Interfaces × address families × (host, reflexive, relayed; UDP, TCP), with room."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MEDIA_LINE = re.compile(
    r"m=[a-z]{1,16} \d{1,5}(?:/\d{1,2})? [A-Za-z/]{1,32}(?: [^ ]{1,32}){1,80}\Z"
)
_UFRAG = re.compile(r"[A-Za-z0-9+/=_-]{4,256}\Z")
_PASSWORD = re.compile(r"[A-Za-z0-9+/=_-]{22,256}\Z")
_MID = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}\Z")
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} \d{1,3} [A-Za-z0-9-]{1,16} \d{1,10} [A-Za-z0-9.:%_-]{1,253} \d{1,5}"
    r" typ [a-z]{1,16}(?: [\x21-\x7e]{1,256})*\Z"
)


class FragmentError(ValueError):
    """Not a fragment that can be used. `detail` is our own text and safe to show."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(slots=True)
class Fragment:
    """What a fragment says; `ufrag` and `password` are both there or both None."""

    ufrag: str | None = None
    password: str | None = None
    candidates: list[str] = field(default_factory=list)
    mids: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def ice(self) -> IceParameters | None:
        """The credentials, None when there are none."""
        if self.ufrag is None or self.password is None:
            return None
        return IceParameters(self.ufrag, self.password)


def parse_fragment(text: str) -> Fragment:
    """Reads a fragment. Raises FragmentError and nothing else.

    Attributes that are not about ICE are left out, known or not.
    """
    # Cheap check first, for a text of megabytes.
    if len(text) > FRAGMENT_BYTES_MAX or len(text.encode("utf-8", "replace")) > FRAGMENT_BYTES_MAX:
        raise FragmentError(f"the fragment is larger than {FRAGMENT_BYTES_MAX} bytes")
    if _CONTROL.search(text):
        raise FragmentError("the fragment has control characters")
    fragment = Fragment()
    sections = 0
    for line in (line.rstrip("\r") for line in text.split("\n")):
        if line.startswith("m="):
            sections += 1
            if sections > SDP_MEDIA_SECTIONS_MAX or not _MEDIA_LINE.match(line):
                raise FragmentError("a media line is malformed, or there are too many")
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            _read_attribute(fragment, name, value.strip())
        elif line.strip():
            raise FragmentError("a line is neither an attribute nor a media line")
    if (fragment.ufrag is None) != (fragment.password is None):
        raise FragmentError("ice-ufrag and ice-pwd come together")
    if fragment.ufrag is None and not fragment.candidates and not fragment.ended:
        raise FragmentError("the fragment has neither credentials nor candidates")
    return fragment


def _read_attribute(fragment: Fragment, name: str, value: str) -> None:
    match name:
        case "ice-ufrag":
            fragment.ufrag = _the_same(fragment.ufrag, _matched(_UFRAG, name, value))
        case "ice-pwd":
            fragment.password = _the_same(fragment.password, _matched(_PASSWORD, name, value))
        case "candidate":
            if len(fragment.candidates) >= CANDIDATES_MAX:
                raise FragmentError(f"the fragment has more than {CANDIDATES_MAX} candidates")
            fragment.candidates.append(_matched(_CANDIDATE, name, value))
        case "mid":
            fragment.mids.append(_matched(_MID, name, value))
            if len(fragment.mids) > SDP_MEDIA_SECTIONS_MAX:
                raise FragmentError("the fragment has too many mids")
        case "end-of-candidates":
            fragment.ended = True
        case _:
            pass


def _matched(pattern: re.Pattern[str], name: str, value: str) -> str:
    if not pattern.match(value):
        raise FragmentError(f"a={name} is malformed")
    return value


def _the_same(before: str | None, now: str) -> str:
    if before not in (None, now):
        raise FragmentError("bundled media have one ICE session, the fragment names two")
    return now


def write_fragment(ours: IceDescription) -> str:
    """Our side of an ICE session with all of its candidates, CRLF line ends."""
    lines = ["a=ice-lite", "a=ice-options:trickle"]
    if ours.mids:
        lines.append(f"a=group:BUNDLE {' '.join(ours.mids)}")
    lines.append(f"m={ours.kind} 9 UDP/TLS/RTP/SAVPF 0")
    lines += [f"a=mid:{mid}" for mid in ours.mids[:1]]
    lines += [f"a=ice-ufrag:{ours.ufrag}", f"a=ice-pwd:{ours.password}"]
    lines += [f"a=candidate:{value}" for value in ours.candidates]
    return "\r\n".join([*lines, "a=end-of-candidates"]) + "\r\n"
