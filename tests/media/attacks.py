"""Datagrams of a stranger who knows the port and no credentials; F1 to F5 are published faults."""

import os
import random
import struct
from collections.abc import Iterator

from media.aiortc_seam import DtlsSrtp, new_certificate
from media.stun import binding_request

DTLS_HEAD = b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00"
DATAGRAM_BYTES_MAX = 65_000


def client_hello() -> bytes:
    """A real one, with our own certificate and ciphers: the race for somebody else's call."""
    caught: list[bytes] = []
    DtlsSrtp(new_certificate(), [], server=False, send=caught.append).begin()
    return caught[0]


def bad_client_hello() -> bytes:
    """A ClientHello whose only cipher nobody takes (NULL), as in the published race."""
    body = b"\xfe\xfd" + bytes(32) + b"\x00\x00" + b"\x00\x02\x00\x00" + b"\x01\x00"
    handshake = b"\x01" + len(body).to_bytes(3) + b"\x00\x00\x00\x00\x00" + len(body).to_bytes(3)
    record = handshake + body
    return DTLS_HEAD + len(record).to_bytes(2) + record


def attacks() -> Iterator[tuple[str, list[bytes]]]:
    chance = random.Random(20)
    yield "F1 empty", [b""] * 20
    yield "F2 oversized", [bytes([first]) * size for first in (128, 191) for size in (1_501, 9_000)]
    yield "F2 largest", [b"\x80" * DATAGRAM_BYTES_MAX]
    yield "F3 ClientHello", [client_hello()] * 20
    yield "F3 bad ClientHello", [bad_client_hello()] * 20
    yield "F3 alert", [b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"] * 20
    yield "F3 close_notify", [b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x01\x00"] * 20
    yield "F3 junk handshake", [DTLS_HEAD + b"\x05\x00" + os.urandom(1_280)] * 20
    yield "F4 flood", [b"\x16" + os.urandom(1_199)] * 1_000
    yield "F4 media flood", [b"\x80\x60" + os.urandom(1_198)] * 1_000
    yield "F5 malformed STUN", [malformed_stun(chance) for _ in range(300)]
    yield "forged checks", forged_checks()
    yield "every first byte", [bytes([first]) + os.urandom(30) for first in range(256)]
    yield "single bytes", [bytes([first]) for first in range(256)]
    yield "RTCP BYE", [b"\x81\xcb\x00\x01" + struct.pack("!I", 4711)] * 20


def malformed_stun(chance: random.Random) -> bytes:
    """Mutations of a well-formed request, as in the published fuzzing."""
    good = bytearray(binding_request(bytes(12), b"aaaa:bbbb", b"a-password-of-22-chars"))
    for _ in range(chance.randint(1, 6)):
        good[chance.randrange(len(good))] = chance.randrange(256)
    return bytes(good[: chance.randint(1, len(good))])


def forged_checks() -> list[bytes]:
    """Right in everything but what a stranger cannot know."""
    return [
        binding_request(bytes(12), username, password, use_candidate=True)
        for username in (b"a:b", b"client:client", b"0123456789abcdef:client", b":client")
        for password in (b"client-password-0123456789", b"0" * 32)
    ]


ATTACKS = dict(attacks())
