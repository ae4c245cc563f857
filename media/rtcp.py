"""RTCP (RFC 3550 §6, RFC 3611, RFC 4585, RFC 5104, REMB): reading and building compounds. Pure.

Reading is tolerant and bounded: unknown packets and trailing extensions are passed over, a cut-off
one ends the reading, nothing is raised whatever the bytes are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

PACKETS_MAX: Final = 16
"""RTCP packets read of one compound; browsers send at most five."""
NACKS_MAX: Final = 512
"""Sequence numbers read of one compound: about 1.5 s of video, more cannot be repaired in time.
Each costs 0.4 µs before anybody looks it up."""
FIRS_MAX: Final = 4
"""Entries read of one FIR: viewers have one picture."""
BLOCKS_MAX: Final = 8
"""Reception reports read of one SR or RR; a peer of ours has three at most. A flood of full ones
kept others waiting for 16 ms (p99)."""
CNAME_BYTES_MAX: Final = 255
ECHOES_MAX: Final = 8
"""DLRR sub-blocks read of one XR: one for each stream that a sender may have."""

_SR, _RR, _SDES, _BYE, _RTPFB, _PSFB, _XR = 200, 201, 202, 203, 205, 206, 207
_FMT_NACK, _FMT_PLI, _FMT_FIR, _FMT_AFB, _FMT_TRANSPORT = 1, 1, 4, 15, 15

_XR_RRTR, _XR_DLRR = 4, 5

_BLOCK = struct.Struct("!IIIIII")
_SENDER = struct.Struct("!IIIII")
_ECHO = struct.Struct("!III")
_SENDER_REPORT = struct.Struct("!BBHIQIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """One reception report (RFC 3550 §6.4.1). `fraction_lost` in 1/256, `jitter` in ticks."""

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_since_sr: int


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp` is 32.32 fixed point seconds."""

    ssrc: int
    ntp: int
    rtp_timestamp: int
    reports: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """Reception reports of one receiver."""

    ssrc: int
    reports: tuple[ReportBlock, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets of `media_ssrc` that did not arrive (RFC 4585 §6.2.1)."""

    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyframeRequest:
    """PLI (RFC 4585 §6.3.1) or FIR (RFC 5104 §4.3.1): the same wish for us."""

    media_ssrc: int


@dataclass(frozen=True, slots=True)
class Remb:
    """The receiver's estimate of what it can take in all."""

    bitrate_bps: int


@dataclass(frozen=True, slots=True)
class Bye:
    """These streams end."""

    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Echo:
    """A sender's answer to our reference time (DLRR, RFC 3611 §4.5): `last_rr` is the middle of our
    NTP time, `delay_since_rr` in 1/65536 s how long it waited. `ssrc` is ours."""

    ssrc: int
    last_rr: int
    delay_since_rr: int


RtcpPacket = SenderReport | ReceiverReport | Nack | KeyframeRequest | Remb | Bye | Echo


def parse(data: bytes | bytearray | memoryview, length: int) -> list[RtcpPacket]:
    """What is understood of the compound in the first `length` bytes of `data`."""
    found: list[RtcpPacket] = []
    position, nacks_left = 0, NACKS_MAX
    length = min(length, len(data))
    for _ in range(PACKETS_MAX):
        if position + 4 > length or data[position] >> 6 != 2:
            break
        count, kind = data[position] & 0x1F, data[position + 1]
        end = position + 4 + 4 * (data[position + 2] << 8 | data[position + 3])
        if end > length:
            break
        body = bytes(data[position + 4 : end])
        if data[position] & 0x20:
            body = _unpadded(body)
        position = end
        if kind == _RTPFB and count == _FMT_NACK:
            nack = _nack(body, nacks_left)
            if nack is not None:
                nacks_left -= len(nack.sequences)
                found.append(nack)
            continue
        found += _read(kind, count, body)
    return found


def _unpadded(body: bytes) -> bytes:
    return body[: -body[-1]] if body and 0 < body[-1] <= len(body) else body


def _read(kind: int, count: int, body: bytes) -> Iterable[RtcpPacket]:
    if kind == _SR and len(body) >= 24:
        ssrc, seconds, fraction, timestamp, _ = _SENDER.unpack_from(body)
        return (SenderReport(ssrc, seconds << 32 | fraction, timestamp, _blocks(body[24:], count)),)
    if kind == _RR and len(body) >= 4:
        return (ReceiverReport(int.from_bytes(body[:4], "big"), _blocks(body[4:], count)),)
    if kind == _BYE:
        ssrcs = (int.from_bytes(body[i : i + 4], "big") for i in range(0, 4 * count, 4))
        return (Bye(tuple(ssrcs)),) if count and len(body) >= 4 * count else ()
    if kind == _XR:
        return _echoes(body)
    if len(body) < 8:
        return ()
    media_ssrc = int.from_bytes(body[4:8], "big")
    if kind == _PSFB:
        return _payload_feedback(count, media_ssrc, body[8:])
    return ()


def _payload_feedback(fmt: int, media_ssrc: int, body: bytes) -> Iterable[RtcpPacket]:
    if fmt == _FMT_PLI:
        return (KeyframeRequest(media_ssrc),)
    if fmt == _FMT_FIR:  # the streams are named in the entries
        entries = range(0, min(len(body), 8 * FIRS_MAX) - 7, 8)
        return [KeyframeRequest(int.from_bytes(body[i : i + 4], "big")) for i in entries]
    if fmt == _FMT_AFB and body[:4] == b"REMB" and len(body) >= 8:
        exponent, mantissa = body[5] >> 2, (body[5] & 0x03) << 16 | body[6] << 8 | body[7]
        return (Remb(mantissa << exponent),)
    return ()


def _blocks(body: bytes, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    end = min(24 * min(count, BLOCKS_MAX), len(body) - len(body) % 24)
    for start in range(0, end, 24):
        ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, start)
        lost = loss & 0xFFFFFF
        if lost >= 0x800000:
            lost -= 0x1000000
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _echoes(body: bytes) -> list[Echo]:
    """The DLRR sub-blocks of an XR (RFC 3611 §3, §4.5); other block types are passed over."""
    found: list[Echo] = []
    position = 4
    while position + 4 <= len(body) and len(found) < ECHOES_MAX:
        end = position + 4 + 4 * (body[position + 2] << 8 | body[position + 3])
        if end > len(body):
            break
        if body[position] == _XR_DLRR:
            starts = range(position + 4, end - 11, 12)
            found += [Echo(*_ECHO.unpack_from(body, start)) for start in starts[:ECHOES_MAX]]
        position = end
    return found[:ECHOES_MAX]


def _nack(body: bytes, at_most: int) -> Nack | None:
    if len(body) < 8 or not at_most:
        return None
    sequences: list[int] = []
    for start in range(8, len(body) - 3, 4):
        first = body[start] << 8 | body[start + 1]
        mask = body[start + 2] << 8 | body[start + 3]
        sequences.append(first)
        sequences += [(first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1]
        if len(sequences) >= at_most:
            break
    return Nack(int.from_bytes(body[4:8], "big"), tuple(sequences[:at_most]))


# --- building --------------------------------------------------------------------------------


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def build_sr(ssrc: int, ntp: int, rtp_timestamp: int, packets: int, octets: int) -> bytes:
    """A sender report without reception reports; counters wrap as RFC 3550 says."""
    return _SENDER_REPORT.pack(
        0x80,
        _SR,
        6,
        ssrc,
        ntp & 0xFFFFFFFFFFFFFFFF,
        rtp_timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )


def build_rr(ssrc: int, reports: Sequence[ReportBlock] = ()) -> bytes:
    """A receiver report with at most 31 reception reports."""
    body = struct.pack("!I", ssrc)
    for block in reports[:31]:
        loss = block.fraction_lost << 24 | (max(min(block.packets_lost, 0x7FFFFF), -0x800000)) & (
            0xFFFFFF
        )
        body += _BLOCK.pack(
            block.ssrc,
            loss,
            block.highest_sequence & 0xFFFFFFFF,
            min(block.jitter, 0xFFFFFFFF),
            block.last_sr,
            min(block.delay_since_sr, 0xFFFFFFFF),
        )
    return _packet(min(len(reports), 31), _RR, body)


def build_reference_time(ssrc: int, ntp: int) -> bytes:
    """An XR that asks a sender for its echo (RRTR, RFC 3611 §4.4): `ntp` is our time now."""
    block = struct.pack("!BBHII", _XR_RRTR, 0, 2, ntp >> 32 & 0xFFFFFFFF, ntp & 0xFFFFFFFF)
    return _packet(0, _XR, struct.pack("!I", ssrc) + block)


def build_echo(sender_ssrc: int, echo: Echo) -> bytes:
    """An XR with one DLRR sub-block, as a sender answers."""
    block = struct.pack("!BBH", _XR_DLRR, 0, 3) + _ECHO.pack(
        echo.ssrc, echo.last_rr, echo.delay_since_rr
    )
    return _packet(0, _XR, struct.pack("!I", sender_ssrc) + block)


def build_sdes(ssrc: int, cname: str) -> bytes:
    """A source description with the canonical name alone (RFC 3550 §6.5.1)."""
    text = cname.encode()[:CNAME_BYTES_MAX]
    item = struct.pack("!IBB", ssrc, 1, len(text)) + text
    return _packet(1, _SDES, item + bytes(4 - len(item) % 4))


def build_bye(ssrc: int) -> bytes:
    """The end of one stream."""
    return _packet(1, _BYE, struct.pack("!I", ssrc))


def build_pli(sender_ssrc: int, media_ssrc: int) -> bytes:
    """A picture loss indication."""
    return _packet(_FMT_PLI, _PSFB, struct.pack("!II", sender_ssrc, media_ssrc))


def build_nack(sender_ssrc: int, media_ssrc: int, sequences: Iterable[int]) -> bytes:
    """A generic NACK for 16-bit sequence numbers, in the order of their first occurrence."""
    body = struct.pack("!II", sender_ssrc, media_ssrc)
    first: int | None = None
    mask = 0
    for sequence in sequences:
        ahead = (sequence - first - 1) & 0xFFFF if first is not None else 16
        if first is None or ahead >= 16:
            if first is not None:
                body += struct.pack("!HH", first, mask)
            first, mask = sequence & 0xFFFF, 0
        else:
            mask |= 1 << ahead
    if first is not None:
        body += struct.pack("!HH", first, mask)
    return _packet(_FMT_NACK, _RTPFB, body)


def build_transport_feedback(sender_ssrc: int, media_ssrc: int, feedback: bytes) -> bytes:
    """A body of `media.twcc` as a packet, the last of its compound: padded to whole words."""
    padding = -len(feedback) % 4
    body = struct.pack("!II", sender_ssrc, media_ssrc) + feedback
    if padding:
        body += bytes(padding - 1) + bytes((padding,))
    return _packet(_FMT_TRANSPORT | (0x20 if padding else 0), _RTPFB, body)


def build_remb(sender_ssrc: int, bitrate_bps: int, media_ssrcs: Sequence[int]) -> bytes:
    """The estimate for these streams together, rounded down to what 18 bits of mantissa hold."""
    exponent = max(bitrate_bps.bit_length() - 18, 0)
    head = struct.pack("!II", sender_ssrc, 0) + b"REMB"
    value = len(media_ssrcs) << 24 | exponent << 18 | bitrate_bps >> exponent
    return _packet(
        _FMT_AFB, _PSFB, head + struct.pack(f"!I{len(media_ssrcs)}I", value, *media_ssrcs)
    )


def ntp_from_ns(time_ns: int) -> int:
    """Nanoseconds as 32.32 fixed point seconds."""
    return (time_ns << 32) // 1_000_000_000


def ns_from_ntp(ntp: int) -> int:
    """The other way round."""
    return ntp * 1_000_000_000 >> 32


def middle(ntp: int) -> int:
    """The middle 32 bits, by which the far end names a time of ours (RFC 3550 §6.4.1)."""
    return ntp >> 16 & 0xFFFFFFFF


def delay_ns(delay: int) -> int:
    """How long the far end waited, from 1/65536 s (RFC 3550 §6.4.1)."""
    return delay * 1_000_000_000 >> 16
