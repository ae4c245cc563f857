"""SDP fragments of trickle ICE and ICE restarts: what is read, what is refused, what we write."""

import pytest

from media.api import IceDescription, Kind
from media.sdp_frag import (
    CANDIDATES_MAX,
    FRAGMENT_BYTES_MAX,
    FragmentError,
    parse_fragment,
    write_fragment,
)

CREDENTIALS = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
HOST = "1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1"
RFC_9725 = (
    "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    f"{CREDENTIALS}a=candidate:{HOST}\r\n"
    "a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host generation 0\r\n"
    "a=end-of-candidates\r\n"
)


def test_the_example_of_the_standard() -> None:
    fragment = parse_fragment(RFC_9725)
    assert (fragment.ufrag, fragment.password) == ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert fragment.candidates[0] == HOST
    assert len(fragment.candidates) == 2
    assert fragment.mids == ["0"]
    assert fragment.ended


@pytest.mark.parametrize(
    "text",
    [
        CREDENTIALS,
        CREDENTIALS.replace("\r\n", "\n"),
        f"m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:1\na=candidate:{HOST}\n",
        f"a=candidate:{HOST.replace('192.0.2.1', '2001:db8::17')}",
        f"a=candidate:{HOST.replace('192.0.2.1', '0f2e-77.local')}",
        "a=candidate:1 1 TCP 1518280447 192.0.2.1 9 typ host tcptype active",
        "a=candidate:2 1 UDP 1 203.0.113.7 5 typ srflx raddr 192.0.2.1 rport 4",
        f"a=ice-options:trickle ice2\r\na=unheard-of:x\r\n{CREDENTIALS}a=\r\n",
        "a=mid:0\r\na=end-of-candidates",
        CREDENTIALS + "m=audio 9 RTP/SAVPF 0\r\n" + CREDENTIALS,
    ],
)
def test_what_clients_send(text: str) -> None:
    parse_fragment(text)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("", "neither"),
        ("a=mid:0\r\n", "neither"),
        ("v=0\r\n" + CREDENTIALS, "neither an attribute"),
        ("a=ice-ufrag:EsAw\r\n", "come together"),
        ("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "come together"),
        (CREDENTIALS.replace("EsAw", "abc"), "ice-ufrag"),
        (CREDENTIALS.replace("EsAw", "a b c d"), "ice-ufrag"),
        (CREDENTIALS.replace("EsAw", "x" * 257), "ice-ufrag"),
        (CREDENTIALS.replace("P2uYro0UCOQ4zxjKXaWCBui1", "short"), "ice-pwd"),
        (CREDENTIALS + CREDENTIALS.replace("EsAw", "Other"), "two"),
        ("a=candidate:", "candidate"),
        ("a=candidate:1 1 udp 1 192.0.2.1 5", "candidate"),
        ("a=candidate:1 1 udp 1 a;b 5 typ host", "candidate"),
        ("m=audio\r\n" + CREDENTIALS, "media line"),
        ("m=audio 9 RTP/AVP 0\r\n" * 11 + CREDENTIALS, "media line"),
        ("a=mid:0\r\n" * 11 + CREDENTIALS, "mids"),
        (f"a=candidate:{HOST}\r\n" * (CANDIDATES_MAX + 1), "candidates"),
        (CREDENTIALS + "a=x:\x00", "control"),
        (CREDENTIALS + "a=x:" + "y" * FRAGMENT_BYTES_MAX, "larger"),
        (CREDENTIALS + "a=x:" + "å" * (FRAGMENT_BYTES_MAX // 2), "larger"),
    ],
)
def test_what_is_refused_and_why(text: str, about: str) -> None:
    with pytest.raises(FragmentError) as refused:
        parse_fragment(text)
    assert about in refused.value.detail


def test_ours_is_read_back() -> None:
    ours = IceDescription(
        "0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
        ("1 1 udp 2130706431 192.0.2.1 8189 typ host",),
        "theirs",
        Kind.VIDEO,
        ("v", "a"),
    )
    text = write_fragment(ours)
    assert "a=ice-lite\r\n" in text
    assert "a=group:BUNDLE v a\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:v\r\n" in text
    fragment = parse_fragment(text)
    assert (fragment.ufrag, fragment.password) == (ours.ufrag, ours.password)
    assert fragment.candidates == list(ours.candidates)
    assert fragment.ended
