"""The watcher: what it counts, over a real connection and packet by packet."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpRrPacket, RtcpRtpfbPacket, RtpPacket

from clients import _counting
from clients import watch as module
from clients._counting import CountingSink, starts_keyframe
from clients._failures import BadAddress, ServerRefused
from clients.watch import WatchOptions, watch


def silent(text: str) -> None:
    return


def whep(whip: Any) -> str:
    return str(whip.url).replace("/whip/", "/whep/")


@pytest.mark.slow
async def test_counts_what_arrives(whip: Any) -> None:
    said: list[str] = []
    options = WatchOptions(url=whep(whip), seconds=1.2, key="token")
    summary = await watch(options, stop=asyncio.Event(), say=said.append)
    video, audio = summary.tracks["video"], summary.tracks["audio"]
    assert (video.codec, audio.codec) == ("VP8", "opus")
    assert video.keyframes >= 1
    assert audio.packets > 30
    assert video.lost == audio.lost == 0
    assert video.first_keyframe_ms is not None
    assert len(summary.per_second) == 2
    assert summary.packets == sum(
        second[kind]["packets"] for second in summary.per_second for kind in second
    )
    assert any("VP8" in line for line in said)
    assert whip.deleted == ["/whep/resource"]
    assert whip.keys == ["Bearer token"]


@pytest.mark.slow
async def test_ends_with_the_connection(whip: Any) -> None:
    task = asyncio.create_task(
        watch(WatchOptions(url=whep(whip)), stop=asyncio.Event(), say=silent)
    )
    await asyncio.wait_for(whip.connected.wait(), 10)
    await whip.peers[0].close()
    summary = await asyncio.wait_for(task, 10)
    assert summary.seconds < 5


async def test_a_refusal(whip: Any) -> None:
    whip.statuses.append((404, {}, json.dumps({"detail": "No such room."})))
    with pytest.raises(ServerRefused, match="No such room"):
        await watch(WatchOptions(url=whep(whip)), stop=asyncio.Event(), say=silent)


async def test_an_expert_who_is_off_air(whip: Any) -> None:
    whip.statuses.append((409, {}, json.dumps({"detail": "Not live."})))
    with pytest.raises(ServerRefused, match=r"nothing to watch at the moment \(Not live"):
        await watch(WatchOptions(url=whep(whip)), stop=asyncio.Event(), say=silent)


async def test_a_bad_address() -> None:
    with pytest.raises(BadAddress):
        await watch(WatchOptions(url="room/ada"), stop=asyncio.Event(), say=silent)


def test_run_reports_failures_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.run(WatchOptions(url="room/ada", as_json=True)) == BadAddress.exit_code
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad_address"


# --- the counter alone -----------------------------------------------------------------


class Wire:
    """Stands in for a video transceiver; keeps what is sent to the other side."""

    kind = "video"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[Any] = []
        monkeypatch.setattr(_counting, "own_ssrc", lambda transceiver: 7)
        monkeypatch.setattr(_counting, "negotiated_codecs", lambda transceiver: self.codecs)
        monkeypatch.setattr(_counting, "send_rtcp", self._send)
        self.codecs = [Codec("VP8", 97), Codec("rtx", 98)]
        self.sink = CountingSink(self, lambda: 0)  # type: ignore[arg-type]

    async def _send(self, transceiver: Any, packets: list[Any]) -> None:
        self.sent += packets

    async def take(self, *sequences: int, payload_type: int = 97, payload: bytes = b"\x00") -> None:
        for sequence in sequences:
            packet = RtpPacket(payload_type=payload_type, sequence_number=sequence, ssrc=1)
            packet.payload = payload
            await self.sink._handle_rtp_packet(packet, 0)


class Codec:
    def __init__(self, name: str, payload_type: int) -> None:
        self.name = name
        self.payloadType = payload_type


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


async def test_a_hole_is_asked_for_and_lost_if_it_stays(line: Wire) -> None:
    await line.take(10, 11, 14)
    assert [(p.fmt, p.lost) for p in line.sent] == [(RTCP_RTPFB_NACK, [12, 13])]
    assert isinstance(line.sent[0], RtcpRtpfbPacket)
    await line.take(0, payload_type=98, payload=b"\x00\x0c retransmitted")
    line.sink.settle()
    assert (line.sink.counts.lost, line.sink.counts.retransmitted) == (1, 1)


async def test_late_packets_are_not_lost(line: Wire) -> None:
    await line.take(10, 12, 11)
    line.sink.settle()
    assert line.sink.counts.lost == 0


async def test_sequence_numbers_wrap(line: Wire) -> None:
    await line.take(65534, 65535, 0, 1, 3)
    line.sink.settle()
    assert line.sink.counts.lost == 1
    assert [p.lost for p in line.sent] == [[2]]


async def test_an_outage_is_not_asked_for(line: Wire) -> None:
    await line.take(0, 2000)
    assert line.sent == []
    assert line.sink.counts.lost == 1999


async def test_reports_carry_the_loss_and_ask_for_a_keyframe_once_needed(line: Wire) -> None:
    await line.take(0, 1, 3)
    line.sent.clear()
    await line.sink.report()
    report, request = line.sent
    assert isinstance(report, RtcpRrPacket)
    assert (report.reports[0].packets_lost, report.reports[0].fraction_lost) == (1, 64)
    assert request.fmt == 1
    line.sent.clear()
    await line.take(4, payload=b"\x10\x00")
    await line.sink.report()
    assert len(line.sent) == 1
    assert line.sent[0].reports[0].fraction_lost == 0


async def test_nothing_is_reported_before_anything_came(line: Wire) -> None:
    await line.sink.report()
    assert line.sent == []


@pytest.mark.parametrize(
    ("codec", "payload", "expected"),
    [
        ("VP8", b"\x10\x00", True),
        ("VP8", b"\x10\x01", False),
        ("VP8", b"\x00\x00", False),
        ("VP8", b"\x11\x00", False),
        ("VP8", b"\x90\x80\x05\x00", True),
        ("VP8", b"\x90\x80\x85\x01\x00", True),
        ("VP8", b"\x90\x80\x85\x01\x01", False),
        ("VP8", b"\x90\xe0\x85\x01\x00\x00\x00", True),
        ("VP8", b"\x90", False),
        ("VP8", b"", False),
        ("H264", b"\x65\x00", True),
        ("H264", b"\x41\x00", False),
        ("H264", b"\x7c\x85", True),
        ("H264", b"\x7c\x05", False),
        ("H264", b"\x78\x00\x02\x67\x00\x00\x02\x68\x00\x00\x02\x65\x00", True),
        ("H264", b"\x78\x00\x02\x67\x00\x00\x02\x68\x00", False),
        ("H264", b"\x78\xff", False),
        ("opus", b"\x10\x00", False),
    ],
)
def test_keyframes_are_told_from_their_first_packet(
    codec: str, payload: bytes, expected: bool
) -> None:
    assert starts_keyframe(codec, payload) is expected
