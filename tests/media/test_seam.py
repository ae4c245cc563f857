"""A peer's DTLS: keys on both sides, fingerprints, lost flights, goodbyes."""

import contextlib
import time
from itertools import pairwise

import pytest
from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from media.aiortc_seam import (
    DATAGRAM_BYTES_MAX,
    PREFERRED_PROFILES,
    REPLAY_WINDOW_PACKETS,
    Certificate,
    DtlsState,
    Fingerprint,
    datagrams,
    new_certificate,
)
from media.batch import PacketBuffer, srtp_protect
from tests.media.dtls_pair import RTP, Pair, Stranger, protected, records_of

WAIT_S = 10
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE = 20, 21, 22
"""Content types of records (RFC 5246 §6.2.1)."""
SERVER_HELLO, CERTIFICATE = 2, 11
"""The first byte of a handshake message says which it is (§7.4)."""
SESSION_ID_LENGTH_AT = 12 + 2 + 32
"""In a ServerHello: after the header of the message, the version and the random."""


def test_both_sides_get_keys_that_fit_and_prefer_aes_128_gcm() -> None:
    server, client = Pair().shake().sessions
    assert server.profile == client.profile == "SRTP_AEAD_AES_128_GCM"
    for sender, receiver in ((server, client), (client, server)):
        buffer, length = protected(sender)
        assert bytes(buffer.data[12:length]) != RTP[12:]
        assert buffer.unprotect(receiver.rx, length) == len(RTP)
        assert bytes(buffer.data[: len(RTP)]) == RTP


def test_a_server_says_nothing_before_it_is_asked() -> None:
    pair = Pair()
    pair.server.begin()
    pair.server.repeat()
    assert pair.sent == []


def test_beginning_twice_is_beginning_once() -> None:
    pair = Pair(wire=lambda data: None)
    pair.client.begin()
    pair.client.begin()
    assert len(pair.sent) == 1


def test_a_handshake_is_four_datagrams() -> None:
    pair = Pair().shake()
    assert [max(map(len, pair.sent)) <= DATAGRAM_BYTES_MAX, len(pair.sent)] == [True, 4]


def test_a_certificate_that_was_not_announced_gets_no_keys() -> None:
    pair = Pair(server_expects=new_certificate()).shake()
    assert pair.server.srtp is None
    assert pair.server.state is DtlsState.FAILED


class Anonymous(Certificate):
    """A client that shows no certificate at all."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_tlsext_use_srtp(b":".join(p.openssl_profile for p in srtp_profiles))
        return context


def test_a_client_without_a_certificate_gets_no_keys() -> None:
    pair = Pair(client_certificate=Anonymous.generateCertificate()).shake()
    assert pair.server.srtp is None
    assert pair.server.state is DtlsState.FAILED
    assert records_of(pair.sent[-1])[0][0] == ALERT, "it is told"
    assert not pair.server.feed(pair.sent[0])


def test_of_the_suites_of_a_client_ours_is_taken() -> None:
    """The one that needs no OpenSSL afterwards, also where it is not the client's first."""

    class Other(Stranger):
        ciphers = b"ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-GCM-SHA256"

    pair = Pair(client_certificate=Other.generateCertificate()).shake()
    assert pair.sessions
    assert pair.server.settle()


def test_a_dtls_server_may_have_an_rsa_key() -> None:
    """As encoders have that make their own certificate."""
    server = Stranger.generateCertificate()
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "encoder")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1)
    built = built.not_valid_before(server._cert.not_valid_before_utc)
    built = built.not_valid_after(server._cert.not_valid_after_utc)
    server = Stranger(key=key, cert=built.sign(key, hashes.SHA256()))
    pair = Pair(server_certificate=server).shake()
    assert pair.sessions
    assert pair.client.settle()


@pytest.mark.parametrize("ours", ["server", "client"])
def test_a_peer_that_wants_new_keys_gets_a_no(ours: str) -> None:
    """The keys of SRTP are those of the first handshake: a second one would only cost."""
    stranger = Stranger.generateCertificate()
    if ours == "server":
        pair = Pair(client_certificate=stranger).shake()
        other = pair.client
    else:
        pair = Pair(server_certificate=stranger).shake()
        other = pair.server
    assert pair.sessions
    assert other._connection is not None
    first = len(pair.sent)
    other._connection.renegotiate()
    with contextlib.suppress(SSL.WantReadError):
        other._connection.do_handshake()
    other._flush(other._connection)
    asked, answered, *_ = ([kind for kind, _ in records_of(sent)] for sent in pair.sent[first:])
    assert (asked, answered) == ([HANDSHAKE], [ALERT])


def test_no_session_is_promised_or_resumed() -> None:
    """Who was here before shakes hands as everybody does, and shows its certificate again."""
    certificate, stranger = new_certificate(), Stranger.generateCertificate()
    session = None
    for _ in range(2):
        pair = Pair(server_certificate=certificate, client_certificate=stranger)
        connection = pair.client._open()
        if session is not None:
            connection.set_session(session)
        pair.client._shake(connection)
        assert pair.sessions
        session = connection.get_session()
        _, servers_first, clients, servers_last = map(records_of, pair.sent)
        (_, hello), (_, certificate_of_server), *_ = servers_first
        assert (hello[0], hello[SESSION_ID_LENGTH_AT]) == (SERVER_HELLO, 0)
        assert (certificate_of_server[0], clients[0][1][0]) == (CERTIFICATE, CERTIFICATE)
        assert servers_last[0][0] == CHANGE_CIPHER_SPEC, "no ticket before it"


RIGHT, LOWER, WRONG = "right", "lower", "wrong"


@pytest.mark.parametrize(
    ("announced", "connected"),
    [
        ([("sha-256", RIGHT)], True),
        ([("sha-256", LOWER)], True),
        ([("sha-256", RIGHT), ("sha-512", RIGHT)], True),
        ([("sha-256", RIGHT), ("sha-1", WRONG)], True),
        ([("sha-256", RIGHT), ("sha-512", WRONG)], False),
        ([("sha-256", RIGHT), ("sha-384", WRONG)], False),
        ([("sha-512", RIGHT), ("sha-256", WRONG)], False),
        ([("sha-1", RIGHT)], False),
        ([], False),
    ],
)
def test_every_fingerprint_of_a_known_hash_must_be_right(
    announced: list[tuple[str, str]], *, connected: bool
) -> None:
    pair = Pair()
    digests = {f.algorithm: f.value for f in pair.client_certificate.getFingerprints()}
    pair.server._fingerprints = [
        Fingerprint(name, {RIGHT: right, LOWER: right.lower(), WRONG: ":".join(["00"] * 32)}[text])
        for name, text in announced
        for right in [digests.get(name, "00")]
    ]
    pair.shake()
    assert (pair.server.srtp is not None) is connected


def test_a_goodbye_is_heard_once_and_ends_the_association() -> None:
    pair = Pair().shake()
    assert pair.server.state is DtlsState.CONNECTED
    pair.client.close()
    assert pair.server.state is DtlsState.CLOSED
    assert not pair.server.feed(b"\x16anything")
    sent = len(pair.sent)
    pair.server.close()
    pair.client.close()
    assert len(pair.sent) == sent


def test_junk_after_the_handshake_changes_nothing() -> None:
    pair = Pair().shake()
    server, client = pair.sessions
    for junk in (b"\x15", b"\x16" * 1_500, b"\x15\xfe\xfd" + bytes(10) + b"\x00\x02\x02\x28"):
        assert pair.server.feed(junk)
    assert pair.server.state is DtlsState.CONNECTED
    buffer, length = protected(client)
    assert buffer.unprotect(server.rx, length) == len(RTP)


def test_junk_before_the_handshake_does_not_hinder_it() -> None:
    pair = Pair()
    for junk in (b"\x15", b"\x16" * 1_500, b"\x16\xfe\xff" + bytes(10) + b"\x00"):
        assert pair.server.feed(junk)
    assert pair.shake().sessions


def test_a_handshake_may_be_closed_and_says_nothing_any_more() -> None:
    pair = Pair(wire=lambda data: None)
    pair.client.begin()
    pair.client.close()
    assert not pair.client.feed(b"\x16")
    pair.client.repeat()
    pair.client.begin()
    assert len(pair.sent) == 1
    unspoken = Pair()
    unspoken.client.close()
    unspoken.client.begin()
    assert unspoken.sent == []


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_whichever_flight_is_lost_is_repeated(lost: int) -> None:
    """The last one too: the client repeats its own, and the server, done already, answers again."""

    pair = Pair()
    pair.wire = lambda data: None if len(pair.sent) == lost else data
    pair.shake()
    assert pair.client.srtp is None
    end_s = time.monotonic() + WAIT_S
    while pair.client.srtp is None and time.monotonic() < end_s:
        time.sleep(0.02)  # OpenSSL's clock is its own
        pair.client.repeat()
        pair.server.repeat()
    assert pair.sessions


def test_one_tls_context_serves_every_peer() -> None:
    certificate = new_certificate()
    assert isinstance(certificate, RTCCertificate)
    profiles = list(PREFERRED_PROFILES)
    first = certificate._create_ssl_context(profiles)
    assert certificate._create_ssl_context(profiles) is first


def test_srtp_may_come_late_and_is_encrypted_once() -> None:
    """Once for each number: the same twice under AES-GCM would give the key away."""
    server, client = Pair().shake().sessions
    newest = REPLAY_WINDOW_PACKETS + 100
    too_late, late, last = (protected(client, number) for number in (99, 150, newest))
    for (buffer, length), taken in ((last, True), (late, True), (too_late, False), (late, False)):
        assert (buffer.unprotect(server.rx, length) > 0) is taken
    buffer = PacketBuffer()
    buffer.data[: len(RTP)] = RTP[:2] + newest.to_bytes(2) + RTP[4:]
    buffer.length_pointer[0] = len(RTP)
    assert srtp_protect(client.tx, buffer.pointer, buffer.length_pointer) != 0


def test_a_repair_is_sent_on_while_it_is_of_use() -> None:
    """A second of a 2 Mbit/s picture may come late; what is older viewers ask for again."""
    _, client = Pair().shake().sessions
    newest = 1_000
    protected(client, newest)
    protected(client, newest - 255)
    with pytest.raises(AssertionError):
        protected(client, newest - 300)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 40, 1_500])
def test_srtp_that_is_none_is_refused_whatever_its_size(size: int) -> None:
    server, _ = Pair().shake().sessions
    buffer = PacketBuffer()
    buffer.data[:size] = b"\x80" * size
    assert buffer.unprotect(server.rx, size) == 0


def record(size: int) -> bytes:
    return bytes(11) + size.to_bytes(2) + bytes(size)


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=12))
def test_a_flight_is_cut_between_records(sizes: list[int]) -> None:
    records = [record(size) for size in sizes]
    found = datagrams(b"".join(records))
    assert b"".join(found) == b"".join(records)
    for datagram in found:
        whole = []
        while datagram:
            end = 13 + int.from_bytes(datagram[11:13])
            whole.append(datagram[:end])
            datagram = datagram[end:]
        assert all(part in records for part in whole)
        assert len(whole) == 1 or sum(map(len, whole)) <= DATAGRAM_BYTES_MAX
    for one, other in pairwise(found):
        first = other[: 13 + int.from_bytes(other[11:13])]
        assert len(one) + len(first) > DATAGRAM_BYTES_MAX
