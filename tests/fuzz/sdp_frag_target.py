"""Fuzzes SDP fragments: FragmentError and nothing else, bounded, and what is read is clean."""

from media.api import SDP_MEDIA_SECTIONS_MAX
from media.sdp_frag import CANDIDATES_MAX, FragmentError, parse_fragment
from tests.media.test_sdp_frag import CREDENTIALS, HOST, RFC_9725


def seeds() -> list[bytes]:
    many = "".join(f"m=audio 9 RTP/AVP 0\na=mid:{n}\na=candidate:{HOST}\n" for n in range(10))
    tcp = "a=candidate:1 1 TCP 1518280447 192.0.2.1 9 typ host tcptype active\r\n"
    texts = (RFC_9725, CREDENTIALS, many, tcp, "a=end-of-candidates\n", f"a={'9' * 3_000}:1\n")
    return [text.encode() for text in texts]


def check(data: bytes) -> None:
    try:
        fragment = parse_fragment(data.decode("utf-8", "surrogateescape"))
    except FragmentError:
        return
    assert len(fragment.candidates) <= CANDIDATES_MAX
    assert len(fragment.mids) <= SDP_MEDIA_SECTIONS_MAX
    assert (fragment.ufrag is None) == (fragment.password is None)
    read = [*fragment.candidates, *fragment.mids, fragment.ufrag or "", fragment.password or ""]
    assert all(text.isascii() and text.isprintable() for text in read)
