"""Offers of real clients, hostile ones, and what the answers say."""

import itertools
import random
import re

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from media import sdp
from media.api import BOTH_KINDS, IceParameters, Kind, RefusalCode, SdpRefused
from media.links import CodecFormat
from media.quality import FIRST_BPS, LAYERED_BPS, START_BPS
from media.rtp import URI_RID, URI_TRANSPORT_WIDE
from media.sdp import Offer, OfferedSection, parse_offer
from media.sdp_answer import ABS_SEND_TIME_URI, MID_URI, Negotiated, negotiate_publish
from media.sdp_answer import negotiate_watch as negotiate
from media.sdp_write import AnswerForm, LocalTransport

CANDIDATES = (("203.0.113.5", 8189), ("192.168.0.2", 8189))
LOCAL = LocalTransport(
    ufrag="localufrag",
    password="p" * 32,
    sha256_fingerprint=":".join(["AB"] * 32),
    session_id=42,
    cname="our-cname",
    stream_id="our-stream",
)


def negotiate_watch(offer: Offer) -> Negotiated:
    numbers = itertools.count(1_000)
    return negotiate(offer, new_ssrc=lambda: next(numbers))


def write_answer(
    negotiated: Negotiated,
    local: LocalTransport,
    candidates: tuple[tuple[str, int], ...] = CANDIDATES,
) -> str:
    return AnswerForm(negotiated, candidates).write(negotiated.watched, local)


def formats_by_name(formats: tuple[CodecFormat, ...]) -> dict[str, CodecFormat]:
    return {item.name: item for item in formats}


def refusal(text: str) -> SdpRefused:
    with pytest.raises(SdpRefused) as caught:
        negotiate_publish(parse_offer(text), BOTH_KINDS)
    return caught.value


# --- publishers ---------------------------------------------------------------------------------


def test_a_browser_publishes_one_payload_type_per_codec_with_its_rtx(
    offers: dict[str, str],
) -> None:
    result = negotiate_publish(parse_offer(offers["browser_publish"]), BOTH_KINDS)
    audio, video = result.published
    assert (audio.kind, audio.mid, video.kind, video.mid) == (Kind.AUDIO, "0", Kind.VIDEO, "1")
    assert [f.name for f in video.formats] == ["vp8", "vp9", "h264", "av1"]
    chosen = formats_by_name(video.formats)
    assert (chosen["vp8"].payload_type, chosen["vp8"].rtx_payload_type) == (96, 97)
    assert (chosen["vp9"].payload_type, chosen["vp9"].rtx_payload_type) == (98, 99)
    # Of the four H.264 formats the constrained baseline one with fragments.
    assert (chosen["h264"].payload_type, chosen["h264"].rtx_payload_type) == (108, 109)
    assert chosen["vp8"].feedback == {"nack", "nack pli", "ccm fir", "transport-cc"}
    assert video.ssrcs == (1111,)
    assert video.rtx_ssrcs == {2222: 1111}
    assert video.extension_ids == {MID_URI: 4, ABS_SEND_TIME_URI: 2, URI_TRANSPORT_WIDE: 3}
    assert result.remote.we_are_server
    assert result.remote.ice == IceParameters("EcbR", "tsBSkBRrkxis2e+Kct/oHwTi")


@pytest.mark.parametrize(
    ("name", "video_pt", "audio_pt", "server"),
    [
        ("gstreamer", 96, 97, True),
        ("obs", 96, 111, True),
        ("ffmpeg", 106, 111, False),
        ("firefox", 120, 109, True),
    ],
)
def test_encoders_and_firefox_publish(
    offers: dict[str, str], name: str, video_pt: int, audio_pt: int, server: bool
) -> None:
    result = negotiate_publish(parse_offer(offers[name]), BOTH_KINDS)
    tracks = {track.kind: track for track in result.published}
    assert tracks[Kind.VIDEO].formats[0].payload_type == video_pt
    assert tracks[Kind.AUDIO].formats[0].payload_type == audio_pt
    assert result.remote.we_are_server is server
    assert len(result.remote.fingerprints) == 1
    text = write_answer(result, LOCAL)
    assert ("a=setup:passive" in text) is server
    assert ("a=setup:active" in text) is not server
    assert "a=recvonly\r\n" in text
    assert "a=bundle-only" not in text


def test_firefoxs_star_feedback_counts_for_every_format(offers: dict[str, str]) -> None:
    result = negotiate_publish(parse_offer(offers["firefox"]), BOTH_KINDS)
    video = next(t for t in result.published if t.kind is Kind.VIDEO)
    chosen = formats_by_name(video.formats)
    assert chosen["h264"].feedback == {"nack"}
    assert chosen["vp8"].feedback == {"nack", "nack pli", "ccm fir", "goog-remb"}


def test_a_kind_that_is_not_allowed_is_answered_with_port_zero(offers: dict[str, str]) -> None:
    result = negotiate_publish(parse_offer(offers["browser_publish"]), frozenset({Kind.VIDEO}))
    assert [t.kind for t in result.published] == [Kind.VIDEO]
    text = write_answer(result, LOCAL)
    assert "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n" in text
    assert "a=group:BUNDLE 1\r\n" in text


# --- viewers ------------------------------------------------------------------------------------


def test_a_viewer_is_offered_every_common_codec_and_fixed_ssrcs(offers: dict[str, str]) -> None:
    result = negotiate_watch(parse_offer(offers["browser_watch"]))
    audio, video = result.watched
    assert (audio.ssrc, audio.rtx_ssrc, video.ssrc, video.rtx_ssrc) == (1000, None, 1001, 1002)
    assert {f.name for f in video.formats} == {"vp8", "vp9", "h264", "av1"}
    text = write_answer(result, LOCAL)
    assert "a=ssrc-group:FID 1001 1002\r\n" in text
    assert "a=ssrc:1000 cname:our-cname\r\n" in text
    assert "a=sendonly\r\n" in text
    assert "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n" in text


def test_a_viewer_that_knows_only_unfragmented_h264_is_not_promised_h264(
    offers: dict[str, str],
) -> None:
    text = offers["browser_watch"].replace("packetization-mode=1", "packetization-mode=0")
    _, video = negotiate_watch(parse_offer(text)).watched
    assert "h264" not in {f.name for f in video.formats}
    published = negotiate_publish(parse_offer(text.replace("a=recvonly", "a=sendonly")), BOTH_KINDS)
    assert "h264" in {f.name for f in published.published[1].formats}


def test_an_offer_to_send_cannot_watch_and_the_reverse(offers: dict[str, str]) -> None:
    with pytest.raises(SdpRefused, match="received"):
        negotiate_watch(parse_offer(offers["browser_publish"]))
    assert refusal(offers["browser_watch"]).code is RefusalCode.BAD_SDP


# --- answers ------------------------------------------------------------------------------------


def test_another_implementation_reads_our_answers(offers: dict[str, str]) -> None:
    for name, offer in offers.items():
        parsed = parse_offer(offer)
        watching = name == "browser_watch"
        result = negotiate_watch(parsed) if watching else negotiate_publish(parsed, BOTH_KINDS)
        answer = SessionDescription.parse(write_answer(result, LOCAL))
        theirs = SessionDescription.parse(offer)
        assert [m.kind for m in answer.media] == [m.kind for m in theirs.media]
        assert [m.rtp.muxId for m in answer.media] == [m.rtp.muxId for m in theirs.media]
        for ours, offered in zip(answer.media, theirs.media, strict=True):
            assert ours.rtcp_mux
            assert set(ours.fmt) <= set(offered.fmt)
            assert ours.ice.iceLite
            assert ours.ice.usernameFragment == "localufrag"
            assert [(c.protocol, c.ip, c.port) for c in ours.ice_candidates] == [
                ("udp", "203.0.113.5", 8189),
                ("udp", "192.168.0.2", 8189),
                ("tcp", "203.0.113.5", 8189),
                ("tcp", "192.168.0.2", 8189),
            ]
            assert [c.tcpType for c in ours.ice_candidates] == [None, None, "passive", "passive"]
            priorities = [c.priority for c in ours.ice_candidates]
            assert priorities == sorted(set(priorities), reverse=True)
            assert len({c.foundation for c in ours.ice_candidates}) == 4
            assert ours.ice_candidates_complete


def test_nothing_of_the_offer_but_numbers_and_mids_comes_back(offers: dict[str, str]) -> None:
    for name in ("browser_publish", "obs", "gstreamer", "ffmpeg", "firefox"):
        result = negotiate_publish(parse_offer(offers[name]), BOTH_KINDS)
        text = write_answer(result, LOCAL)
        for foreign in ("host", "FFmpeg", "mozilla", "192.168.1.4", "cname:", "toffset"):
            allowed = foreign == "host"  # our own candidates say `typ host`
            assert allowed or foreign not in text, (name, foreign)


def feedback_of(offer: str) -> tuple[set[str], bool]:
    """What a publisher is answered for its video: the agreed feedback, and whether it numbers."""
    result = negotiate_publish(parse_offer(offer), BOTH_KINDS)
    video = next(t for t in result.published if t.kind is Kind.VIDEO)
    text = write_answer(result, LOCAL)
    numbered = f" {URI_TRANSPORT_WIDE}\r\n" in text.partition("m=video")[2]
    assert numbered == (URI_TRANSPORT_WIDE in video.extension_ids)
    return set(video.formats[0].feedback), numbered


def test_arrivals_or_an_estimate_are_told_but_never_both(offers: dict[str, str]) -> None:
    offer = offers["browser_publish"]
    feedback, numbered = feedback_of(offer)
    assert numbered
    assert {"transport-cc", "goog-remb"} & feedback == {"transport-cc"}
    extmap = re.compile(rf"a=extmap:\d+ {re.escape(URI_TRANSPORT_WIDE)}\r\n")
    for without in (extmap.sub("", offer), offer.replace(" transport-cc", " x-none")):
        assert without != offer
        feedback, numbered = feedback_of(without)
        assert not numbered
        assert {"transport-cc", "goog-remb"} & feedback == {"goog-remb"}


def test_who_estimates_begins_with_a_picture_worth_sending(offers: dict[str, str]) -> None:
    offer = offers["browser_publish"]
    text = write_answer(negotiate_publish(parse_offer(offer), BOTH_KINDS), LOCAL)
    first = f"x-google-start-bitrate={FIRST_BPS // 1_000}"
    lines = [line for line in text.split("\r\n") if first in line]
    assert lines[0] == f"a=fmtp:96 {first}"
    assert len(lines) == 4  # VP8, VP9, H.264, AV1; never sound, never a repair stream
    assert f"profile-level-id=42e01f;{first}" in text
    without = offer.replace(" transport-cc", " x-none")
    assert first not in write_answer(negotiate_publish(parse_offer(without), BOTH_KINDS), LOCAL)


def test_a_viewer_sends_an_estimate(offers: dict[str, str]) -> None:
    result = negotiate(parse_offer(offers["browser_watch"]), new_ssrc=itertools.count(1).__next__)
    video = next(t for t in result.watched if t.kind is Kind.VIDEO)
    assert {"transport-cc", "goog-remb"} & video.formats[0].feedback == {"goog-remb"}
    assert "transport" not in write_answer(result, LOCAL)


@pytest.mark.parametrize("name", ["browser_publish", "gstreamer", "obs", "ffmpeg", "firefox"])
def test_a_publisher_is_told_the_most_it_may_send(offers: dict[str, str], name: str) -> None:
    text = write_answer(negotiate_publish(parse_offer(offers[name]), BOTH_KINDS), LOCAL)
    sections = [section.split("\r\n") for section in text.split("m=")[1:]]
    limits = {s[0].split()[0]: [line for line in s if line.startswith("b=")] for s in sections}
    assert limits["video"] == [f"b=TIAS:{START_BPS}"]
    assert not limits["audio"]


@pytest.mark.parametrize("name", ["browser_publish", "gstreamer", "obs", "ffmpeg", "firefox"])
def test_every_publisher_is_asked_for_opus_with_fec_and_without_silence(
    offers: dict[str, str], name: str
) -> None:
    text = write_answer(negotiate_publish(parse_offer(offers[name]), BOTH_KINDS), LOCAL)
    [opus] = [line for line in text.split("\r\n") if line.startswith("a=fmtp:") and "minp" in line]
    assert {"useinbandfec=1", "usedtx=1"} <= set(opus.partition(" ")[2].split(";"))


def test_stereo_is_answered_only_when_offered(offers: dict[str, str]) -> None:
    obs = write_answer(negotiate_publish(parse_offer(offers["obs"]), BOTH_KINDS), LOCAL)
    browser = negotiate_publish(parse_offer(offers["browser_publish"]), BOTH_KINDS)
    assert "stereo=1" in obs
    assert "stereo=1" not in write_answer(browser, LOCAL)


def test_an_ipv6_address_is_written_as_such(offers: dict[str, str]) -> None:
    obs = negotiate_publish(parse_offer(offers["obs"]), BOTH_KINDS)
    text = write_answer(obs, LOCAL, (("2001:db8::1", 5),))
    assert "c=IN IP6 2001:db8::1\r\n" in text


# --- refusals -----------------------------------------------------------------------------------


def test_a_codec_that_nobody_here_forwards_is_named(offers: dict[str, str]) -> None:
    hevc = offers["obs"].replace("H264/90000", "H265/90000")
    refused = refusal(hevc)
    assert refused.code is RefusalCode.CODEC_UNSUPPORTED
    assert "H265" in refused.detail
    assert "VP8, H264" in refused.detail


def test_a_profile_that_cannot_be_forwarded_is_named(offers: dict[str, str]) -> None:
    refused = refusal(offers["obs"].replace("42e01f", "f4001f"))
    assert refused.code is RefusalCode.CODEC_UNSUPPORTED
    assert "profile" in refused.detail


def test_two_video_tracks_are_too_many(offers: dict[str, str]) -> None:
    offer = offers["obs"]
    video = offer[offer.index("m=video") :].replace("a=mid:1", "a=mid:2").replace("96", "97")
    refused = refusal(offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + video)
    assert refused.code is RefusalCode.TOO_MANY_TRACKS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=0\r\n", ""),
        ("v=0\r\n", "v=1\r\n"),
        ("a=ice-ufrag:Q1oY", "a=ice-ufrag:Q1o"),
        ("a=ice-ufrag:Q1oY", "a=ice-ufrag:Q1oY:evil"),
        ("a=ice-pwd:qhAXzM6WWJhZXGfmrMCcOr", "a=ice-pwd:short"),
        ("a=ice-pwd:qhAXzM6WWJhZXGfmrMCcOr\r\n", ""),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-1"),
        ("a=fingerprint:sha-256 00", "a=fingerprint:sha-256 zz"),
        ("a=fingerprint:sha-256 00:", "a=fingerprint:sha-256 "),
        ("a=setup:actpass", "a=setup:holdconn"),
        ("a=rtcp-mux\r\n", ""),
        ("a=group:BUNDLE 0 1\r\n", ""),
        ("a=mid:1", "a=mid:0"),
        ("a=mid:1", "a=mid:1 x"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        ("m=video 57325", "m=video many"),
        ("a=mid:1", "a=mid:1\x00"),
        ("96", "111"),
    ],
)
def test_offers_that_are_wrong_are_bad_sdp(offers: dict[str, str], old: str, new: str) -> None:
    offer = offers["obs"]
    assert old in offer
    assert refusal(offer.replace(old, new)).code is RefusalCode.BAD_SDP


def test_limits_hold(offers: dict[str, str]) -> None:
    offer = offers["obs"]
    assert refusal(offer + "a=x\r\n" * 20_000).code is RefusalCode.BAD_SDP
    assert refusal(offer + "a=æ" * 12_000).code is RefusalCode.BAD_SDP
    many = offer + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 9
    assert refusal(many).code is RefusalCode.TOO_MANY_TRACKS
    crowded = offer + "".join(f"a=ssrc:{n} cname:x\r\n" for n in range(1, 900))
    result = negotiate_publish(parse_offer(crowded), BOTH_KINDS)
    assert len(result.published[1].ssrcs) <= 32


def test_a_line_cannot_be_smuggled_into_the_answer(offers: dict[str, str]) -> None:
    for evil in ("a=mid:1\ra=candidate:evil", "a=mid:1\x0ba=candidate:evil"):
        with pytest.raises(SdpRefused):
            parse_offer(offers["obs"].replace("a=mid:1", evil))


def test_control_characters_are_refused_wherever_they_are(offers: dict[str, str]) -> None:
    assert refusal(offers["obs"] + "a=x:\x00\r\n").code is RefusalCode.BAD_SDP
    assert refusal(offers["obs"] + "a=x:\x1b[2J\r\n").code is RefusalCode.BAD_SDP


def test_a_bug_in_the_parser_is_still_a_refusal(
    offers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(section: OfferedSection, value: str) -> None:
        raise StopIteration

    monkeypatch.setitem(sdp._READERS, "mid", stumble)
    assert refusal(offers["obs"]).code is RefusalCode.BAD_SDP


# --- noise --------------------------------------------------------------------------------------


def outcome(text: str) -> None:
    """Both negotiations; nothing but SdpRefused may come out, and its text is fit to show."""
    for negotiation in (lambda o: negotiate_publish(o, BOTH_KINDS), negotiate_watch):
        detail = ""
        try:
            write_answer(negotiation(parse_offer(text)), LOCAL)
        except SdpRefused as refused:
            detail = refused.detail
        assert detail.isprintable()


@given(st.text(max_size=400))
def test_noise_is_refused(text: str) -> None:
    with pytest.raises(SdpRefused):
        parse_offer(text)


@settings(max_examples=150)
@given(st.sampled_from(["browser_publish", "gstreamer", "obs", "firefox"]), st.randoms())
def test_damaged_offers_are_answered_or_refused(
    offers: dict[str, str], name: str, chance: random.Random
) -> None:
    lines = offers[name].split("\r\n")
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                lines[at] = lines[at][: chance.randint(0, len(lines[at]))]
            case 3:
                lines[at] = lines[at].replace(" ", chance.choice(["", "  ", "\t"]))
            case 4:
                lines[at] += chance.choice([" 99999999999999999999", ";=;;", ":", "\u0661"])
            case _:
                chance.shuffle(lines)
        if not lines:
            break
    outcome("\r\n".join(["v=0", *lines[1:]]))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                (
                    *("mid", "rtpmap", "fmtp", "rtcp-fb", "extmap", "ssrc", "ssrc-group", "rid"),
                    *("setup", "fingerprint", "ice-ufrag", "ice-pwd", "group", "candidate"),
                )
            ),
            st.text(max_size=40),
        ),
        max_size=8,
    )
)
def test_any_attribute_value_is_survived(
    offers: dict[str, str], attributes: list[tuple[str, str]]
) -> None:
    extra = "".join(f"a={name}:{value}\r\n" for name, value in attributes)
    outcome(offers["obs"] + extra)


def test_numbers_beyond_their_field_are_left_out(offers: dict[str, str]) -> None:
    """An SSRC beyond 32 bits, and a payload type that int() itself refuses."""
    extra = f"a=ssrc:{'0' * 10}1{'9' * 20} cname:x\r\na=fmtp:{'9' * 5_000} apt=1\r\n"
    plain = parse_offer(offers["browser_publish"])
    assert parse_offer(offers["browser_publish"] + extra) == plain


# --- simulcast -----------------------------------------------------------------------------------

RID = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
REPAIRED = "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"
LAYERS = "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\n"


@pytest.mark.parametrize(
    ("lines", "rids"),
    [
        (RID + REPAIRED + LAYERS + "a=simulcast:send q;h;f\r\n", ("q", "h", "f")),
        ("a=simulcast:send f;h;q\r\n" + RID + LAYERS, ("f", "h", "q")),  # in any order of lines
        (RID + LAYERS + "a=simulcast:send q,x;~h;f,y recv z\r\n", ("q", "h", "f")),
        (RID + LAYERS + "a=simulcast:recv z send q;h\r\n", ("q", "h")),
        (RID + LAYERS + "a=simulcast:send q;q;nobody;h\r\n", ("q", "h")),
        (RID + LAYERS, ()),  # layers that nobody wants to send at once
        (LAYERS + "a=simulcast:send q;h;f\r\n", ()),  # no way to tell them apart
        (RID + LAYERS + "a=simulcast:send q\r\n", ()),  # one is no simulcast
        (RID + LAYERS + "a=simulcast:recv q;h;f\r\n", ()),
        (RID + LAYERS + "a=simulcast:send\r\n", ()),
        (RID + LAYERS + "a=simulcast:\r\n", ()),
        (RID + LAYERS + "a=simulcast:send ;;,;~;\r\n", ()),
        (RID + "a=rid:a-b send\r\na=rid:c_d send\r\na=simulcast:send a-b;c_d\r\n", ("a-b", "c_d")),
        (RID + "a=rid:q recv\r\na=rid:h send\r\na=simulcast:send q;h\r\n", ()),
        (
            RID
            + "".join(f"a=rid:{n} send\r\n" for n in range(9))
            + "a=simulcast:send "
            + ";".join(map(str, range(900)))
            + "\r\n",
            ("0", "1", "2", "3"),
        ),
    ],
)
def test_simulcast_is_taken_where_its_layers_can_be_told_apart(
    offers: dict[str, str], lines: str, rids: tuple[str, ...]
) -> None:
    text = offers["browser_publish"] + lines
    negotiated = negotiate_publish(parse_offer(text), BOTH_KINDS)
    answer = write_answer(negotiated, LOCAL)
    video = next(track for track in negotiated.published if track.kind is Kind.VIDEO)
    assert video.rids == rids
    assert (URI_RID in video.extension_ids) == bool(rids)
    assert f"b=TIAS:{LAYERED_BPS if rids else START_BPS}\r\n" in answer
    assert re.findall(r"a=rid:(\S+) recv\r\n", answer) == list(rids)
    wanted = [";".join(rids)] if rids else []
    assert re.findall(r"a=simulcast:recv (\S+)\r\n", answer) == wanted
    assert answer.count("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id") == bool(rids)
    assert answer.index("m=audio") < answer.index("m=video")
    assert "rid" not in answer[: answer.index("m=video")]


def test_a_viewer_is_never_offered_layers(offers: dict[str, str]) -> None:
    text = offers["browser_watch"] + RID + LAYERS + "a=simulcast:send q;h;f\r\n"
    negotiated = negotiate(parse_offer(text), new_ssrc=itertools.count(1).__next__)
    assert "simulcast" not in write_answer(negotiated, LOCAL)
