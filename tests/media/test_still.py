"""Stills: a keyframe put together again, decoded in a locked process that may die."""

import fractions
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import av
import pytest
from PIL import Image

from media.links import CodecFormat
from media.ring import KEYFRAME_AGE_NS_MAX, Packet, PacketRing
from media.rtcp import KeyframeRequest, ReceiverReport
from media.still import STILL_BYTES_MAX, Still, still_of
from media.still_child import WIDTH_PX
from media.still_decoder import IDLE_NS, StillDecoder
from tests.media.farends import KEY, World

VP8 = CodecFormat("vp8", 96, 90_000)
H264 = CodecFormat("h264", 102, 90_000)


def ring_of(codec: CodecFormat, *payloads: bytes, marker: bool = True) -> PacketRing:
    ring = PacketRing(64)
    for n, payload in enumerate(payloads):
        last = marker and n == len(payloads) - 1
        ring.put(Packet(n, 3_000, last, payload, {}, codec, 0, n == 0))
    return ring


def test_vp8_loses_its_descriptors() -> None:
    ring = ring_of(VP8, b"\x90\x80\x05\x10abc", b"\x80\x80\x05def")
    assert still_of(ring, 0) == Still("vp8", b"\x10abcdef")


def test_h264_gets_its_start_codes() -> None:
    stap = b"\x78\x00\x02\x67\x01\x00\x02\x68\x02"
    fragments = (b"\x7c\x85ab", b"\x7c\x05cd", b"\x7c\x45ef")
    head = b"\0\0\0\1"
    expected = head + b"\x67\x01" + head + b"\x68\x02" + head + b"\x65abcdef" + head + b"\x65zz"
    assert still_of(ring_of(H264, stap, *fragments, b"\x65zz"), 0) == Still("h264", expected)


@pytest.mark.parametrize(
    "ring",
    [
        PacketRing(64),
        ring_of(VP8, b"\x10\x10a", b"\x00b", marker=False),
        ring_of(VP8, b"\x10\x10a", b"\x90\x40"),
        ring_of(H264, b"\x65a", b"\x7f"),
        ring_of(CodecFormat("vp9", 98, 90_000), b"\x08a"),
        ring_of(VP8, *[b"\x10" + bytes(STILL_BYTES_MAX // 32)] * 40),
    ],
    ids=["empty", "unfinished", "cut off", "unknown unit", "other codec", "too large"],
)
def test_what_is_not_whole_is_no_still(ring: PacketRing) -> None:
    assert still_of(ring, 0) is None


def test_an_old_keyframe_is_no_still() -> None:
    assert still_of(ring_of(VP8, b"\x10\x10a"), KEYFRAME_AGE_NS_MAX + 1) is None


def test_a_source_gives_its_still_until_it_is_sealed_and_asks_for_another(world: World) -> None:
    publisher = world.publisher()
    publisher.video(KEY + b"abc", 100, marker=True)
    assert world.forwarder.still("s") == Still("vp8", KEY[1:] + b"abc")
    assert world.forwarder.still("unknown") is None
    publisher.asked()
    world.forwarder.seal("s")
    assert world.forwarder.still("s") is None
    assert [type(asked) for asked in publisher.asked()] == [ReceiverReport, KeyframeRequest]


# --- the decoding process ------------------------------------------------------------------------


def encoded(codec: str, encoder: str) -> bytes:
    """One keyframe of a red picture."""
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 640, 360, "yuv420p"
    context.time_base = fractions.Fraction(1, 30)
    frame = av.VideoFrame.from_image(Image.new("RGB", (640, 360), (200, 20, 20)))
    packets = [*context.encode(frame), *context.encode(None)]
    return bytes(packets[0])


@pytest.fixture
async def decoder() -> AsyncIterator[StillDecoder]:
    made = StillDecoder()
    yield made
    await made.close()


def assert_red(webp: bytes | None) -> None:
    assert webp is not None
    image = Image.open(io.BytesIO(webp))
    assert (image.format, image.width, image.height) == ("WEBP", WIDTH_PX, 180)
    red, green, blue = image.convert("RGB").getpixel((100, 100))
    assert red > 150
    assert max(green, blue) < 80


@pytest.mark.parametrize(("codec", "encoder"), [("vp8", "libvpx"), ("h264", "libx264")])
async def test_a_still_becomes_a_small_picture(
    decoder: StillDecoder, codec: str, encoder: str
) -> None:
    assert_red(await decoder.picture(Still(codec, encoded(codec, encoder))))


async def test_nonsense_is_no_picture_and_the_next_one_works(decoder: StillDecoder) -> None:
    for data in (b"", b"\0" * 40, bytes(range(256)) * 20):
        assert await decoder.picture(Still("vp8", data)) is None
    assert_red(await decoder.picture(Still("vp8", encoded("vp8", "libvpx"))))


async def test_a_dead_process_is_replaced(decoder: StillDecoder) -> None:
    good = Still("vp8", encoded("vp8", "libvpx"))
    assert_red(await decoder.picture(good))
    process = decoder._process
    assert process is not None
    process.kill()
    await process.wait()
    assert_red(await decoder.picture(good))


async def test_a_process_without_work_is_let_go_and_comes_back() -> None:
    now_ns = 0
    decoder = StillDecoder(clock_ns=lambda: now_ns)
    await decoder.rest()  # none there yet
    good = Still("vp8", encoded("vp8", "libvpx"))
    assert_red(await decoder.picture(good))
    process = decoder._process
    assert process is not None
    now_ns = IDLE_NS - 1
    await decoder.rest()
    assert process.returncode is None
    assert_red(await decoder.picture(good))
    now_ns = 2 * IDLE_NS - 2
    await decoder.rest()
    assert process.returncode is None
    now_ns += 1
    await decoder.rest()
    assert process.returncode is not None
    assert_red(await decoder.picture(good))
    await decoder.close()


@pytest.mark.parametrize(
    "script",
    ["", "print('X', end='', flush=True)", "import sys; sys.stdout.write('L' + chr(127) * 8)"],
    ids=["ends at once", "another program", "too large an answer"],
)
async def test_a_process_that_misbehaves_costs_one_picture(script: str) -> None:
    decoder = StillDecoder((sys.executable, "-c", script))
    assert await decoder.picture(Still("vp8", b"x")) is None
    assert decoder._process is None


async def test_a_process_that_ended_just_before_it_was_asked_costs_one_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = StillDecoder((sys.executable, "-c", "print('L', end='', flush=True)"))
    ended = await decoder._running()
    await ended.wait()
    monkeypatch.setattr(decoder, "_running", AsyncMock(return_value=ended))
    assert await decoder.picture(Still("vp8", b"x")) is None
    assert decoder._process is None


async def test_a_picture_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.still_decoder.PICTURE_TIMEOUT_S", 0.05)
    script = "import sys; sys.stdout.write('L'); sys.stdout.flush(); sys.stdin.read()"
    decoder = StillDecoder((sys.executable, "-c", script))
    assert await decoder.picture(Still("vp8", b"x")) is None
    assert decoder._process is None


def test_the_process_can_open_nothing_and_start_nothing() -> None:
    """Each of these is refused with EPERM by the filter, also to root; files by the limit too."""
    script = """
import os, socket
from media import still_child
still_child._warm_up(); still_child.limit()
assert still_child.filter_calls()
for attempt in (
    lambda: socket.socket(), lambda: socket.socketpair(), lambda: os.fork(),
    lambda: open("/etc/passwd"), lambda: os.unlink("/nowhere"), lambda: os.kill(os.getpid(), 9),
    lambda: os.execv("/bin/true", ["true"]),
):
    try:
        attempt()
    except PermissionError:
        continue
    os.write(1, b"allowed"); break
try:
    bytearray(2 << 30)
except MemoryError:
    os.write(1, b"locked")
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (ran.stdout, ran.returncode) == (b"locked", 0), ran.stderr
