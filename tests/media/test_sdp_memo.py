"""Offers whose kind is known: the same outcome as the long way, for whatever differs."""

import itertools
import re
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import sdp_memo
from media.api import IceParameters, SdpRefused
from media.sdp_answer import Negotiated
from media.sdp_memo import KINDS_MAX, WatchMemo
from media.sdp_write import AnswerForm
from tests.fuzz.sdp_target import CANDIDATES, LOCAL, check_memo
from tests.media.conftest import OFFERS

WATCH = OFFERS["browser_watch"]
FIREFOX = OFFERS["firefox"].replace("a=sendonly", "a=recvonly")
FINGERPRINT = ":".join(["0F"] * 32)


def other(text: str, ufrag: str = "othr", *, candidate: str = "") -> str:
    """The offer of another client of the same kind."""
    text = re.sub(r"ice-ufrag:\S+", f"ice-ufrag:{ufrag}", text)
    text = re.sub(r"ice-pwd:\S+", "ice-pwd:anotherpasswordof24bytes", text)
    text = re.sub(r"(fingerprint:sha-256) \S+", rf"\1 {FINGERPRINT}", text)
    return re.sub(r"\no=.*?\r\n", "\no=- 77 1 IN IP4 192.0.2.7\r\n", text) + candidate


def negotiate(memo: WatchMemo, text: str) -> tuple[Negotiated, AnswerForm]:
    numbers = itertools.count(1_000)
    return memo.negotiate(text, lambda: next(numbers))


def short(memo: WatchMemo, text: str) -> Negotiated:
    """Fails when the offer goes the long way."""
    with mock.patch.object(sdp_memo, "parse_offer", side_effect=AssertionError("the long way")):
        return negotiate(memo, text)[0]


def agree(known: str, text: str) -> None:
    """Whoever knows the one kind comes to the same with the other as who knows nothing."""
    memo = WatchMemo(CANDIDATES)
    negotiate(memo, known)
    outcomes: list[object] = []
    for way in (memo, WatchMemo(CANDIDATES)):
        try:
            outcomes.append(negotiate(way, text)[0])
        except SdpRefused as error:
            outcomes.append((error.code, error.detail))
    assert outcomes[0] == outcomes[1]


def test_another_client_of_a_known_kind_goes_the_short_way_and_is_itself() -> None:
    memo = WatchMemo(CANDIDATES)
    first, form = negotiate(memo, WATCH)
    candidate = "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n"
    numbers = itertools.count(5)
    again, same_form = memo.negotiate(other(WATCH, candidate=candidate), lambda: next(numbers))
    assert same_form is form
    assert again.remote.ice == IceParameters("othr", "anotherpasswordof24bytes")
    assert [f.value for f in again.remote.fingerprints] == [FINGERPRINT]
    assert [track.ssrc for track in again.watched] == [5, 6]
    assert again.watched[1].rtx_ssrc == 7
    assert again.watched[0].formats is first.watched[0].formats
    text = form.write(again.watched, LOCAL)
    assert "a=ssrc:6 cname:cname\r\n" in text
    assert "1000" not in text
    assert len(memo) == 1


@pytest.mark.parametrize("text", [WATCH, FIREFOX], ids=["chromium", "firefox"])
def test_browsers_go_the_short_way(text: str) -> None:
    memo = WatchMemo(CANDIDATES)
    negotiate(memo, text)
    assert short(memo, other(text)).remote.ice.ufrag == "othr"


@pytest.mark.parametrize(
    "change",
    [
        ("a=recvonly", "a=sendonly"),
        ("a=setup:actpass", "a=setup:passive"),
        ("a=rtcp-mux\r\n", ""),
        ("VP8/90000", "VP9/90000"),
        ("a=mid:1", "a=mid:x"),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-512"),
        ("a=ice-ufrag:othr", "a=ice-ufrag:oth"),
        ("a=ice-ufrag:othr", "a=ice-ufrag:o\0thr"),
        ("a=ice-pwd:another", "a=ice-pwd:an*ther"),
        ("m=video", "m=audio"),
        ("o=- 77", "o=- \x01"),
        ("o=- 77", "o=- \u00e9"),
        ("a=ice-ufrag:othr\r\n", "a=ice-ufrag:othr\r\n" * 2),
        (f"sha-256 {FINGERPRINT}\r\n", f"sha-256 {FINGERPRINT}\r\na=fingerprint:sha-256 x\r\n"),
        ("\r\n", "\n"),
    ],
)
def test_what_differs_otherwise_has_the_outcome_of_the_long_way(change: tuple[str, str]) -> None:
    text = other(WATCH).replace(*change)
    assert text != other(WATCH)
    agree(WATCH, text)


def test_credentials_of_one_section_are_not_those_of_another() -> None:
    """Bundled sections with credentials of their own: the first taken one's count."""
    memo = WatchMemo(CANDIDATES)
    negotiate(memo, WATCH)
    head, video = WATCH.split("m=video")
    mixed = f"{head}m=video{other(video, 'vide')}"
    assert negotiate(memo, mixed)[0].remote.ice.ufrag == "EcbR"
    swapped = f"{other(head, 'audi')}m=video{video}"
    assert negotiate(memo, swapped)[0].remote.ice.ufrag == "audi"


def test_credentials_of_a_section_that_is_not_taken_are_not_the_peers() -> None:
    audio, video = WATCH.split("m=video")
    idle = audio.replace("a=recvonly", "a=inactive")
    known = f"{other(idle, 'idle')}m=video{video}"
    agree(known, known.replace("ice-ufrag:idle", "ice-ufrag:lazy"))
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n"
    only_there = re.sub(r"a=ice-ufrag:.*\r\n", "", WATCH) + data + "a=ice-ufrag:EcbR\r\n"
    agree(WATCH + data, only_there)


def test_what_stands_for_a_cut_value_may_not_be_offered() -> None:
    audio, video = other(WATCH).split("m=video")
    marked = video.replace("othr\r", "\0")
    agree(WATCH, f"{audio}m=video{marked}")


def test_an_offer_with_other_letters_is_not_kept() -> None:
    memo = WatchMemo(CANDIDATES)
    negotiate(memo, f"{WATCH}a=tool:\u00e9\r\n")
    assert len(memo) == 0


def test_no_more_kinds_are_kept_than_there_may_be() -> None:
    memo = WatchMemo(CANDIDATES)
    for number in range(KINDS_MAX + 5):
        negotiate(memo, f"{WATCH}a=kind:{number}\r\n")
    assert len(memo) == KINDS_MAX
    short(memo, other(f"{WATCH}a=kind:{KINDS_MAX + 4}\r\n"))


@given(st.data())
def test_whatever_lines_are_dropped_or_doubled_both_ways_agree(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from([WATCH, FIREFOX, OFFERS["gstreamer"]])).split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from("dms")):
            case "d":
                del lines[place]
            case "m":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[place])
            case _:
                lines[place] = lines[place][: data.draw(st.integers(0, 40))] + "\r"
        if not lines:
            return
    check_memo("\n".join(lines))
