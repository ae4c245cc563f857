"""Fuzzes offers: SdpRefused and nothing else, every number in its range, our answer is readable."""

import itertools
import re

from media import sdp
from media.api import BOTH_KINDS, SDP_MEDIA_SECTIONS_MAX, SdpRefused
from media.sdp_answer import Negotiated, negotiate_publish, negotiate_watch
from media.sdp_memo import WatchMemo
from media.sdp_write import AnswerForm, LocalTransport
from tests.media.conftest import OFFERS

CANDIDATES = (("192.0.2.1", 7_000), ("2001:db8::1", 7_000))
LOCAL = LocalTransport(
    ufrag="ufrag",
    password="a-password-of-22-chars",
    sha256_fingerprint=":".join(["AB"] * 32),
    session_id=1,
    cname="cname",
    stream_id="stream",
)


def seeds() -> list[bytes]:
    simulcast = "a=rid:hi send\r\na=rid:lo send\r\na=simulcast:send hi;lo\r\n"
    long_numbers = f"a=ssrc:{'0' * 10}1{'9' * 20} cname:x\r\na=fmtp:{'9' * 5_000} apt=1\r\n"
    long_numbers += f"a=ssrc:{'9' * 5_000} cname:x\r\n"
    return [text.encode() for text in OFFERS.values()] + [
        (OFFERS["browser_publish"] + extra).encode() for extra in (simulcast, long_numbers)
    ]


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        # Behind the boundary of parse_offer, so that what it would hide is seen here.
        offer = sdp._parse(text)
    except SdpRefused:
        return
    _check_ranges(offer)
    check_memo(text)
    numbers = itertools.count(1_000)
    for negotiate in (
        lambda: negotiate_publish(offer, BOTH_KINDS),
        lambda: negotiate_watch(offer, new_ssrc=lambda: next(numbers)),
    ):
        try:
            negotiated = negotiate()
        except SdpRefused:
            continue
        _check_answer(offer, negotiated)


def check_memo(text: str) -> None:
    """The short way is the long way: for an offer whose like came before, and of another client."""
    ufrag = re.search("a=ice-ufrag:([^ \r\n]*)", text)
    twin = text if ufrag is None else text.replace(ufrag[1], "another")
    memo = WatchMemo(CANDIDATES)
    _outcome(memo, twin)
    assert _outcome(memo, text) == _outcome(WatchMemo(CANDIDATES), text)


def _outcome(memo: WatchMemo, text: str) -> tuple[object, str]:
    numbers = itertools.count(1_000)
    try:
        negotiated, form = memo.negotiate(text, lambda: next(numbers))
    except SdpRefused as error:
        return error.code, error.detail
    return negotiated, form.write(negotiated.watched, LOCAL)


def _check_ranges(offer: sdp.Offer) -> None:
    assert 0 < len(offer.sections) <= SDP_MEDIA_SECTIONS_MAX
    for section in offer.sections:
        assert all(0 <= number < 128 for number in section.payload_types)
        assert len(section.formats) <= sdp.FORMATS_MAX
        assert len(section.ssrcs) <= sdp.SSRCS_MAX
        assert len(section.rids) <= sdp.RIDS_MAX
        ssrcs = [*section.ssrcs, *section.rtx_ssrcs, *section.rtx_ssrcs.values()]
        assert all(0 < number < 1 << 32 for number in ssrcs)
        assert all(0 < number < 15 for number in section.extension_ids.values())


def _check_answer(offer: sdp.Offer, negotiated: Negotiated) -> None:
    answer = AnswerForm(negotiated, CANDIDATES).write(negotiated.watched, LOCAL)
    answer.encode("ascii")
    again = sdp._parse(answer)
    assert len(again.sections) == len(offer.sections)
    for ours, theirs in zip(again.sections, offer.sections, strict=True):
        assert (ours.kind, ours.mid) == (theirs.kind, theirs.mid)
        if not ours.declined:
            assert set(ours.payload_types) <= set(theirs.payload_types)
            assert set(ours.extension_ids.items()) <= set(theirs.extension_ids.items())
