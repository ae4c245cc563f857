"""The way out: what a full or refusing socket costs, and that both ways of writing agree."""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from media import batch, burst, fanout
from media.api import Kind
from media.batch import SEGMENTS, SLOTS, BatchSender, Destination, Lane, PacketBuffer
from media.burst import Burst, written
from media.fanout import FanOut
from media.links import CodecFormat, ViewerTrack
from media.mmsg import libc_ffi
from media.rewrite import Segment
from media.ring import Packet
from media.rtp import URI_ABS_SEND_TIME, URI_VIDEO_ORIENTATION
from media.shape import PacketShape

KEY = bytes(range(30))


class PlainShape:
    """Twelve blank bytes and the packet."""

    def __init__(self, word: int = 0x80600000) -> None:
        self._word = word

    def render(self, packet: Any, now_ns: int) -> tuple[bytes, int]:
        return bytes(12) + packet, self._word


@pytest.fixture
def sender() -> Iterator[BatchSender]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sender = BatchSender(sock)
        yield sender
        sender.close()


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def outbound() -> Session:
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    return Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))


def received(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(2_048))
        except BlockingIOError:
            return found


def lanes(receiver: socket.socket, count: int, sessions: list[Session]) -> list[Lane]:
    sessions += [outbound() for _ in range(count)]
    shapes = [PlainShape(0x80600000), PlainShape(0x80E60000)]
    to = Destination.from_address(*receiver.getsockname())
    return [
        Lane(s._srtp[0], to, 1_000 + n, shapes[n % 2], 16, 7 * n, 1_000_003 * n)
        for n, s in enumerate(sessions[-count:])
    ]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 40),
    st.integers(0, 2**40),
    st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=80)), min_size=1, max_size=4),
)
def test_the_fan_out_sends_what_one_by_one_would_send(
    count: int, first: int, packets: list[tuple[int, bytes]]
) -> None:
    found: list[list[bytes]] = []
    for together in (True, False):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind(("127.0.0.1", 0))
            receiver.setblocking(False)
            sender, sessions = BatchSender(out), list[Session]()
            everybody, numbered = lanes(receiver, count, sessions), list(enumerate(packets, first))
            if together:
                send_together(FanOut(sender), everybody, numbered)
            else:
                send_one_by_one(sender, everybody, numbered)
            found.append(sorted(received(receiver)))
            assert len(found[-1]) == count * len(packets)
    assert found[0] == found[1]


Numbered = list[tuple[int, tuple[int, bytes]]]


def send_together(fan: FanOut, everybody: list[Lane], packets: Numbered) -> None:
    for lane in everybody:
        fan.add(lane)
    for index, (timestamp, payload) in packets:
        fan.queue(payload, index, timestamp, len(payload), 0)
    fan.flush()


def send_one_by_one(sender: BatchSender, everybody: list[Lane], packets: Numbered) -> None:
    for lane in everybody:
        for index, (timestamp, payload) in packets:
            template, word = lane.shape.render(payload, 0)
            sequence = index + lane.sequence_offset
            sender.send_rtp(lane, template, word, sequence, timestamp + lane.timestamp_offset)


def test_removed_lanes_get_nothing_and_the_rest_everything(
    sender: BatchSender, receiver: socket.socket
) -> None:
    sessions: list[Session] = []
    everybody = lanes(receiver, 5, sessions)
    fan = FanOut(sender)
    for lane in everybody:
        fan.add(lane)
    fan.queue(b"one", 1, 0, 3, 0)
    fan.remove(everybody[2])
    fan.queue(b"two", 2, 0, 3, 0)
    fan.flush()
    assert len(received(receiver)) == 9
    assert len(fan) == 4
    assert (fan.packets, fan.octets) == (2, 6)


@pytest.mark.parametrize("overlap_from", [1, 1_000])
@pytest.mark.parametrize("gone", [0, SLOTS - 1, SLOTS, SLOTS + 2])
def test_more_lanes_than_one_call_takes(
    sender: BatchSender,
    receiver: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    gone: int,
    overlap_from: int,
) -> None:
    monkeypatch.setattr(fanout, "OVERLAP_CHUNKS_MIN", overlap_from)
    sessions: list[Session] = []
    to = Destination.from_address(*receiver.getsockname())
    shape = PlainShape()
    sessions = [outbound() for _ in range(SLOTS + 3)]
    everybody = [Lane(s._srtp[0], to, n, shape, 16) for n, s in enumerate(sessions)]
    fan = FanOut(sender)
    for lane in everybody:
        fan.add(lane)
    fan.queue(b"one", 1, 0, 3, 0)
    fan.remove(everybody[gone])
    assert sorted(ssrcs(receiver)) == list(range(SLOTS + 3))
    fan.queue(b"two", 2, 0, 3, 0)
    fan.flush()
    assert sorted(ssrcs(receiver)) == sorted(set(range(SLOTS + 3)) - {gone})
    for lane in everybody:
        if lane is not everybody[gone]:
            fan.remove(lane)
    fan.queue(b"three", 3, 0, 5, 0)
    fan.flush()
    assert (len(fan), received(receiver)) == (0, [])


class Slow(Future[None]):
    """Work of the other thread that is over when somebody waits for it."""

    def __init__(self, work: Callable[[], None], log: list[str]) -> None:
        super().__init__()
        self.work, self.log = work, log

    def finish(self) -> None:
        if not self.done():
            self.log.append("waited for")
            try:
                self.set_result(self.work())
            except RuntimeError as error:
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> None:
        self.finish()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.finish()
        return super().exception(timeout)


def test_what_breaks_beside_leaves_no_memory_in_use(
    sender: BatchSender, receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next packet is written in clear into memory that the other thread would still send."""
    monkeypatch.setattr(fanout, "OVERLAP_CHUNKS_MIN", 1)
    log: list[str] = []

    class Beside:
        def submit(self, work: Callable[[], None]) -> Slow:
            log.append("handed over")
            return Slow(work, log)

        def shutdown(self) -> None:
            pass

    broken = iter([True])

    def transmit(self: object) -> None:
        if next(broken, False):
            raise RuntimeError("broken")

    monkeypatch.setattr(sender, "_beside", Beside())
    monkeypatch.setattr(fanout._Chunk, "transmit", transmit)
    to, fan = Destination.from_address(*receiver.getsockname()), FanOut(sender)
    sessions, shape = [outbound() for _ in range(2 * SLOTS + 1)], PlainShape()
    for number, session in enumerate(sessions):
        fan.add(Lane(session._srtp[0], to, number, shape, 16))
    fan.queue(b"one", 1, 0, 3, 0)
    with pytest.raises(RuntimeError):
        fan.flush()
    assert log.count("handed over") == log.count("waited for") >= 2


def test_waiting_for_the_other_thread_is_time_at_work(
    sender: BatchSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = 0

    class Late(Future[None]):
        def exception(self, timeout: float | None = None) -> BaseException | None:
            nonlocal now_ns
            now_ns += 3_000
            return None

    monkeypatch.setattr("media.batch.time.monotonic_ns", lambda: now_ns)
    assert sender.outcome(Late()) is None
    done: Future[None] = Future()
    done.set_exception(OSError())
    assert isinstance(sender.outcome(done), OSError)
    assert sender.waited_ns == 3_000


def test_lanes_that_add_more_than_was_thought_get_whole_packets(
    sender: BatchSender, receiver: socket.socket
) -> None:
    sessions: list[Session] = []
    everybody = lanes(receiver, 20, sessions)
    for lane in everybody:
        lane.trailer_bytes = 10
    fan = FanOut(sender)
    for lane in everybody:
        fan.add(lane)
    for index, payload in enumerate((b"one", b"three")):
        fan.queue(payload, index, 0, len(payload), 0)
    fan.flush()
    assert sorted(map(len, received(receiver))) == [12 + 3 + 16] * 20 + [12 + 5 + 16] * 20


@pytest.mark.parametrize("refusing", [False, True])
@pytest.mark.parametrize("segmentation", [False, True])
def test_a_burst_is_the_same_packets_as_one_by_one(
    receiver: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    *,
    segmentation: bool,
    refusing: bool,
) -> None:
    sizes = [900, 900, 900, 30, 900, 40, 40, 40, 40, 40, 40, 40, 40, 40, 41, 2_000, 7]
    packets = [(bytes(12 + size), 0x80600000, n, 90 * n) for n, size in enumerate(sizes)]
    found: list[list[bytes]] = []
    for at_once in (False, True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            sender = BatchSender(out)
            sender.segmentation = segmentation
            session = outbound()
            to = Destination.from_address(*receiver.getsockname())
            lane = Lane(session._srtp[0], to, 7, PlainShape(), 16)
            if at_once:
                if refusing:
                    refuse_cut_messages(monkeypatch)
                heads = [struct.pack("!III", w | n, stamp, 7) for _, w, n, stamp in packets]
                plain = [h + packet[0][12:] for h, packet in zip(heads, packets, strict=True)]
                sent = Burst(sender).send(lane, plain)
            else:
                sent = sum(sender.send_rtp(lane, *packet) for packet in packets)
            assert sent == len(packets) - 1  # one is longer than a slot
            assert (sender.packets, sender.send_errors) == (sent, 1)
            assert sender.octets == sum(sizes) - 2_000 + 28 * sent
            found.append(received(receiver))
    assert found[0] == found[1]


def test_a_burst_leaves_out_what_was_not_encrypted(
    sender: BatchSender, receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def protect(srtp: Any, slot: Any, length: Any) -> int:
        return 1 if next(calls) in (1, 2) else int(batch.srtp_protect(srtp, slot, length))

    monkeypatch.setattr(burst, "srtp_protect", protect)
    session = outbound()
    to = Destination.from_address(*receiver.getsockname())
    lane = Lane(session._srtp[0], to, 7, PlainShape(), 16)
    packets = [struct.pack("!III", 0x80600000 | n, 0, 7) + bytes(50) for n in range(5)]
    assert Burst(sender).send(lane, packets) == 3
    left = received(receiver)
    assert [packet[3] for packet in left] == [0, 3, 4]
    assert {len(packet) for packet in left} == {62 + 16}
    assert (sender.packets, sender.octets, sender.protect_failures) == (3, 3 * 78, 2)


@given(st.data())
@settings(max_examples=50)
def test_a_burst_writes_what_single_packets_are_written_as(data: st.DataObject) -> None:
    codec = CodecFormat("vp8", 96, 90_000)
    ids = {URI_ABS_SEND_TIME: 3, URI_VIDEO_ORIENTATION: 5}
    lane = Lane(
        None,
        Destination(bytes(16)),
        7,
        PacketShape(codec, ViewerTrack(Kind.VIDEO, "1", 7, None, (codec,), ids)),
        16,
    )
    run = Segment(
        0, None, data.draw(st.integers(0, 1 << 20)), data.draw(st.integers(0, 1 << 40)), 90_000
    )
    extensions = st.sampled_from([{}, {URI_VIDEO_ORIENTATION: b"\x01"}, {"other": b"x"}])
    packets = [
        Packet(
            index,
            data.draw(st.integers(0, 180_000)),
            data.draw(st.booleans()),
            data.draw(st.binary(max_size=9)),
            data.draw(extensions),
            codec,
            0,
            False,
        )
        for index in range(data.draw(st.integers(1, 6)))
    ]
    now_ns = data.draw(st.integers(0, 1 << 60))
    found = written(lane, run, packets, now_ns)
    for packet, whole in zip(packets, found, strict=True):
        template, word = lane.shape.render(packet, now_ns)
        sequence = packet.index + run.sequence_offset & 0xFFFF
        stamp = run.out_timestamp(packet.timestamp) & 0xFFFFFFFF
        assert whole == struct.pack("!III", word | sequence, stamp, 7) + template[12:]


def refuse_cut_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way out without checksum offload takes no control message (udp(7): EIO)."""
    real = batch.sendmmsg

    def sendmmsg(fd: int, messages: Any, count: int, flags: int) -> int:
        if messages[0].msg_hdr.msg_controllen:
            libc_ffi.errno = errno.EIO
            return -1
        return int(real(fd, messages, count, flags))

    monkeypatch.setattr(batch, "sendmmsg", sendmmsg)


def ssrcs(receiver: socket.socket) -> list[int]:
    return [int.from_bytes(datagram[8:12], "big") for datagram in received(receiver)]


def outcomes(monkeypatch: pytest.MonkeyPatch, results: list[int]) -> None:
    """The next calls of sendmmsg give these: a count, or a negative errno."""

    def sendmmsg(fd: int, messages: Any, count: int, flags: int) -> int:
        result = results.pop(0)
        if result < 0:
            libc_ffi.errno = -result
            return -1
        return min(result, count)

    monkeypatch.setattr(batch, "sendmmsg", sendmmsg)


@pytest.mark.parametrize(
    ("results", "taken", "full", "errors"),
    [
        ([10], 10, 0, 0),
        ([4, -errno.EAGAIN], 4, 6, 0),
        ([-errno.EAGAIN], 0, 10, 0),
        ([-errno.ENOBUFS], 0, 10, 0),
        ([-errno.EINTR, 10], 10, 0, 0),
        ([-errno.ENETUNREACH, 9], 9, 0, 1),
        ([3, -errno.EPERM, 6], 9, 0, 1),
        ([9, -errno.EMSGSIZE], 9, 0, 1),
        ([3, 7], 10, 0, 0),
    ],
)
def test_what_the_kernel_does_not_take_is_dropped_and_counted(
    sender: BatchSender,
    monkeypatch: pytest.MonkeyPatch,
    results: list[int],
    taken: int,
    full: int,
    errors: int,
) -> None:
    outcomes(monkeypatch, results)
    messages = libc_ffi.new("struct mmsghdr[]", 10)
    assert sender.flush(messages, 10) == taken
    assert (sender.dropped_full, sender.send_errors) == (full, errors)
    assert results == []


def test_a_really_full_socket_never_blocks(receiver: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = f"\0parlour-{os.getpid()}-{id(out)}"
        peer.bind(path)
        out.connect(path)
        sender = BatchSender(out)
        iovec = libc_ffi.new("struct iovec *")
        iovec.iov_base = libc_ffi.cast("void *", sender.slabs[0].address)
        iovec.iov_len = 1_000
        messages = libc_ffi.new("struct mmsghdr[]", 1_000)
        for n in range(1_000):
            messages[n].msg_hdr.msg_iov = iovec
            messages[n].msg_hdr.msg_iovlen = 1
        taken = sender.flush(messages, 1_000)
        assert 0 < taken < 1_000
        assert sender.dropped_full == 1_000 - taken
        peer.close()


def test_too_long_for_a_slot_is_refused(sender: BatchSender, receiver: socket.socket) -> None:
    session = outbound()
    to = Destination.from_address(*receiver.getsockname())
    assert not sender.send_plain(session._srtp[0], to, bytes(12), bytes(batch.SLOT_BYTES))
    assert not sender.send_rtcp(session._srtp[0], to, bytes(batch.SLOT_BYTES))
    assert sender.send_errors == 2
    assert received(receiver) == []


def test_destinations_move_within_their_family(
    sender: BatchSender, receiver: socket.socket
) -> None:
    session = outbound()
    to = Destination.from_address("127.0.0.1", 9)
    to.set_raw(batch.pack_address(*receiver.getsockname()))
    assert sender.send_plain(session._srtp[0], to, b"\x80\x60" + bytes(10), bytes(20))
    assert len(received(receiver)) == 1
    with pytest.raises(ValueError, match="family"):
        to.set_raw(batch.pack_address("::1", 9))
    with pytest.raises(ValueError, match="sockaddr"):
        Destination.from_raw(b"\0" * 5)
    assert Destination.from_address("::1", 9).length == 28
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        six.bind(("::1", 0))
        six.setblocking(False)
        out = BatchSender(six)
        there = Destination.from_raw(batch.pack_address("::1", six.getsockname()[1]))
        other = outbound()
        assert out.send_plain(other._srtp[0], there, b"\x80\x60" + bytes(10), bytes(20))
        assert len(received(six)) == 1


@given(st.binary(max_size=1_500))
def test_unprotecting_bytes_from_anyone_gives_zero(data: bytes) -> None:
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    inbound = Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))
    buffer = PacketBuffer()
    buffer.data[: len(data)] = data
    assert buffer.unprotect(inbound._srtp[0], len(data)) == 0
    buffer.data[: len(data)] = data
    assert buffer.unprotect_rtcp(inbound._srtp[0], len(data)) == 0


def test_a_frame_of_a_large_room_waits_for_its_last_packet_and_not_for_ever(
    sender: BatchSender, receiver: socket.socket
) -> None:
    sessions = [outbound() for _ in range(fanout.WAIT_LANES_MIN)]
    to = Destination.from_address(*receiver.getsockname())
    shape = PlainShape()
    fan, now_ns = FanOut(sender, frames=True), 10**9
    for number, session in enumerate(sessions):
        assert fan.waits_until_ns == 0
        fan.add(Lane(session._srtp[0], to, number, shape, 16))
    fan.queue(b"one", 1, 0, 3, now_ns, complete=False)
    assert fan.waits_until_ns == now_ns + fanout.FRAME_WAIT_NS
    fan.queue(b"two", 2, 0, 3, now_ns + 1, complete=False)
    assert fan.waits_until_ns == now_ns + fanout.FRAME_WAIT_NS  # from the first on
    fan.queue(b"end", 3, 0, 3, now_ns + 2)
    assert fan.waits_until_ns == 0
    fan.flush()
    assert len(received(receiver)) == 3 * fanout.WAIT_LANES_MIN
    for index in range(SEGMENTS):  # a long frame does not wait for its end
        fan.queue(b"abc", 4 + index, 0, 3, now_ns, complete=False)
    assert (len(received(receiver)), fan.waits_until_ns) == (
        SEGMENTS * fanout.WAIT_LANES_MIN,
        0,
    )


def test_small_rooms_and_sound_do_not_wait(sender: BatchSender, receiver: socket.socket) -> None:
    to = Destination.from_address(*receiver.getsockname())
    sessions = [outbound() for _ in range(fanout.WAIT_LANES_MIN)]
    for frames, lanes_count in ((True, fanout.WAIT_LANES_MIN - 1), (False, len(sessions))):
        fan = FanOut(sender, frames=frames)
        for number, session in enumerate(sessions[:lanes_count]):
            fan.add(Lane(session._srtp[0], to, number, PlainShape(), 16))
        fan.queue(b"one", 1, 0, 3, 10**9, complete=False)
        assert fan.waits_until_ns == 0
