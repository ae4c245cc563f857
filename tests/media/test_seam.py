"""aiortc's DTLS over our own pipe: keys on both sides, fingerprints, goodbyes, bounded queues."""

import asyncio

import pytest
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile
from OpenSSL import SSL
from pylibsrtp import Session

from media.aiortc_seam import (
    DTLS_QUEUE_DATAGRAMS_MAX,
    PREFERRED_PROFILES,
    Certificate,
    DtlsSrtp,
    Fingerprint,
    new_certificate,
)
from media.batch import PacketBuffer
from tests.media.dtls_pair import RTP, Pair, fingerprint, protected


async def test_both_sides_get_keys_that_fit_and_prefer_aes_128_gcm() -> None:
    server, client = await Pair().shake()
    assert server is not None
    assert client is not None
    assert server.profile == client.profile == "SRTP_AEAD_AES_128_GCM"
    for sender, receiver in ((server, client), (client, server)):
        buffer, length = protected(sender)
        assert bytes(buffer.data[12:length]) != RTP[12:]
        assert buffer.unprotect(receiver.rx, length) == len(RTP)
        assert bytes(buffer.data[: len(RTP)]) == RTP


async def test_no_task_is_left_running_after_the_handshake() -> None:
    before = asyncio.all_tasks()
    await Pair().shake()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_certificate_that_was_not_announced_gets_no_keys() -> None:
    server, _ = await Pair().shake(server_expects=new_certificate())
    assert server is None


class Anonymous(Certificate):
    """A client that shows no certificate at all."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_tlsext_use_srtp(b":".join(p.openssl_profile for p in srtp_profiles))
        return context


async def test_a_client_without_a_certificate_gets_no_keys() -> None:
    pair = Pair()
    pair.client = DtlsSrtp(Anonymous.generateCertificate(), server=False, send=pair._to_server)
    server_task = asyncio.ensure_future(
        pair.server.handshake([fingerprint(pair.client_certificate)])
    )
    client_task = asyncio.ensure_future(
        pair.client.handshake([fingerprint(pair.server_certificate)])
    )
    assert await server_task is None
    pair.client.close()
    await client_task


async def test_one_wrong_fingerprint_among_right_ones_is_refused() -> None:
    pair = Pair()
    wrong = Fingerprint("sha-512", ":".join(["00"] * 64))
    server, _ = await asyncio.gather(
        pair.server.handshake([fingerprint(pair.client_certificate), wrong]),
        pair.client.handshake([fingerprint(pair.server_certificate)]),
    )
    assert server is None


async def test_a_goodbye_is_heard_once_and_ends_the_association() -> None:
    pair = Pair()
    await pair.shake()
    assert not pair.server.closed_by_peer
    pair.client.close()
    assert pair.server.closed_by_peer
    assert not pair.server.feed(b"\x16anything")
    sent = len(pair.sent)
    pair.server.close()
    pair.client.close()
    assert len(pair.sent) == sent


async def test_junk_after_the_handshake_changes_nothing() -> None:
    pair = Pair()
    server, client = await pair.shake()
    assert server is not None
    assert client is not None
    for junk in (b"\x15", b"\x16" * 1_500, b"\x15\xfe\xfd" + bytes(10) + b"\x00\x02\x02\x28"):
        assert pair.server.feed(junk)
    assert not pair.server.closed_by_peer
    buffer, length = protected(client)
    assert buffer.unprotect(server.rx, length) == len(RTP)


async def test_closing_ends_a_handshake_that_hears_nothing() -> None:
    pair = Pair(wire=lambda data: None)
    task = asyncio.ensure_future(pair.server.handshake([fingerprint(pair.client_certificate)]))
    await asyncio.sleep(0)
    pair.server.close()
    assert await task is None


async def test_the_queue_before_the_handshake_is_bounded() -> None:
    pair = Pair()
    taken = [pair.server.feed(b"\x16") for _ in range(DTLS_QUEUE_DATAGRAMS_MAX + 10)]
    assert taken == [True] * DTLS_QUEUE_DATAGRAMS_MAX + [False] * 10
    pair.server.close()


@pytest.mark.slow
async def test_a_lost_last_flight_is_repeated_after_the_handshake() -> None:
    """The client repeats its own last flight; the server, done already, must answer again."""
    pair = Pair()
    flights = 0

    def lose_the_servers_second_flight(data: bytes) -> None:
        nonlocal flights
        pair.sent.append(data)
        flights += 1
        if flights != 2:
            pair.client.feed(data)

    pair.server._pipe._out = lose_the_servers_second_flight
    pair.server._send = lose_the_servers_second_flight
    server, client = await pair.shake()
    assert server is not None
    assert client is not None
    assert flights >= 3


async def test_one_tls_context_serves_every_peer() -> None:
    certificate = new_certificate()
    assert isinstance(certificate, RTCCertificate)
    profiles = list(PREFERRED_PROFILES)
    first = certificate._create_ssl_context(profiles)
    assert certificate._create_ssl_context(profiles) is first


@pytest.mark.parametrize("size", [0, 1, 11, 12, 40, 1_500])
async def test_srtp_that_is_none_is_refused_whatever_its_size(size: int) -> None:
    server, _ = await Pair().shake()
    assert server is not None
    assert isinstance(server.keep_alive, tuple)
    assert isinstance(server.keep_alive[0], Session)
    buffer = PacketBuffer()
    buffer.data[:size] = b"\x80" * size
    assert buffer.unprotect(server.rx, size) == 0
