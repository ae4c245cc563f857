"""Viewers' offers whose kind is known: what all clients of a kind say is read once. Pure.

A browser's offer is 6 kB, of which its ICE credentials, its certificate's fingerprint and some
numbers that nobody here reads are its own; the rest is the same in every copy of that browser.
Parsed and answered by `media.sdp` and its neighbours it costs a millisecond on cold caches. So
the text without what is its own is looked up, and what was negotiated for its like is taken.

An offer that cannot be cut in that way, or that differs in whatever else, goes the long way: what
comes out is the same, or the same refusal.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from media.aiortc_seam import Fingerprint
from media.api import SDP_BYTES_MAX, IceParameters, SdpRefused
from media.links import ViewerTrack
from media.sdp import parse_offer, read_fingerprint, read_password, read_ufrag
from media.sdp_answer import Negotiated, RemoteTransport, negotiate_watch
from media.sdp_write import AnswerForm

KINDS_MAX = 64
"""Browsers, their versions and platforms in use at a time; 20 kB each."""

_UNREAD = re.compile(r"\n(?:o=|a=candidate:|a=ssrc:|a=ssrc-group:|a=msid:)[ -~]*\r?(?=\n)")
"""Lines of a viewer's offer that nothing is taken from, if they are clean."""
_OWN = ("\na=ice-ufrag:", "\na=ice-pwd:", "\na=fingerprint:")
_MARK = "\0"
"""Stands where something was cut; no offer may have it."""


@dataclass(frozen=True, slots=True)
class _Own:
    """What is one client's own in its offer."""

    ice: IceParameters
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class _Known:
    """What was negotiated for one kind of offer; all but `remote` and the SSRCs holds for all."""

    negotiated: Negotiated
    form: AnswerForm


class WatchMemo:
    """Answers viewers' offers. `candidates` are ours, (ip, port)."""

    def __init__(self, candidates: tuple[tuple[str, int], ...]) -> None:
        self._candidates = candidates
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        """How many kinds are known."""
        return len(self._known)

    def negotiate(self, text: str, new_ssrc: Callable[[], int]) -> tuple[Negotiated, AnswerForm]:
        """As `negotiate_watch` of what `parse_offer` reads. Raises SdpRefused."""
        key, own = _cut(text)
        known = None if own is None else self._known.get(key)
        if known is not None and own is not None:
            return _again(known.negotiated, own, new_ssrc), known.form
        negotiated = negotiate_watch(parse_offer(text), new_ssrc=new_ssrc)
        known = _Known(negotiated, AnswerForm(negotiated, self._candidates))
        remote = negotiated.remote
        if own is not None and (remote.ice, remote.fingerprints) == (own.ice, (own.fingerprint,)):
            if len(self._known) >= KINDS_MAX:
                del self._known[next(iter(self._known))]
            self._known[key] = known
        return negotiated, known.form


def _again(like: Negotiated, own: _Own, new_ssrc: Callable[[], int]) -> Negotiated:
    remote = RemoteTransport(own.ice, (own.fingerprint,), like.remote.we_are_server)
    watched = tuple(
        ViewerTrack(
            track.kind,
            track.mid,
            new_ssrc(),
            None if track.rtx_ssrc is None else new_ssrc(),
            track.formats,
            track.extension_ids,
        )
        for track in like.watched
    )
    return Negotiated(remote, like.sections, watched=watched)


def _cut(text: str) -> tuple[str, _Own | None]:
    """The text without what is one client's own, and that; None when it cannot be told apart."""
    if len(text) > SDP_BYTES_MAX or not text.isascii() or _MARK in text:
        return "", None
    text = _UNREAD.sub("", text)
    values: list[str] = []
    for prefix in _OWN:
        start = text.find(prefix)
        end = text.find("\n", start + 1)
        if start < 0 or end < 0:
            return "", None
        values.append(text[start + len(prefix) : end].strip())
        # In every section where it says the same; where it says something else it stays.
        text = text.replace(text[start : end + 1], f"{prefix}{_MARK}\n")
    ufrag, password, fingerprint = values
    try:
        read = read_fingerprint(fingerprint)
        ice = IceParameters(read_ufrag(ufrag), read_password(password))
    except SdpRefused:  # the long way tells what it is refused for
        return "", None
    return ("", None) if read is None else (text, _Own(ice, read))
