"""What is left of DTLS when OpenSSL is gone, against OpenSSL on the other side."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.aiortc_seam import Certificate, DtlsSrtp, DtlsState
from media.dtls_tail import EXPLICIT_NONCE_BYTES, RECORD_HEADER_BYTES, DtlsTail
from tests.media.dtls_pair import Pair, protected

TAIL = DtlsTail.derive(b"m" * 48, b"c" * 32, b"s" * 32, server=True)
PEER = DtlsTail.derive(b"m" * 48, b"c" * 32, b"s" * 32, server=False)
NONCE = bytes(EXPLICIT_NONCE_BYTES)


def ends(pair: Pair, settled: str) -> tuple[DtlsSrtp, DtlsSrtp]:
    """(the settled end, the one that still has OpenSSL)."""
    both = pair.server, pair.client
    return both if settled == "server" else (pair.client, pair.server)


@pytest.mark.parametrize("role", ["server", "client"])
def test_openssl_understands_the_goodbye_of_a_settled_end(role: str) -> None:
    settled, other = ends(Pair().shake(), role)
    settled.settle()
    assert settled._connection is None
    settled.close()
    assert other.state is DtlsState.CLOSED


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_settled_end_hears_openssls_goodbye(role: str) -> None:
    pair = Pair().shake()
    settled, other = ends(pair, role)
    settled.settle()
    assert settled.state is DtlsState.CONNECTED
    other.close()
    assert settled.state is DtlsState.CLOSED
    sent = len(pair.sent)
    settled.close()
    assert len(pair.sent) == sent  # nobody is left to hear it


def test_keys_outlive_the_settling_and_it_may_be_said_twice() -> None:
    pair = Pair().shake()
    server, client = pair.sessions
    for end in (pair.server, pair.client, pair.server):
        end.settle()
    for sender, receiver in ((server, client), (client, server)):
        buffer, length = protected(sender)
        assert buffer.unprotect(receiver.rx, length) > 0


def test_nothing_is_settled_before_the_handshake_or_after_the_end() -> None:
    pair = Pair()
    pair.server.settle()
    assert pair.shake().sessions
    pair.client.close()
    pair.server.settle()
    assert pair.server.state is DtlsState.CLOSED
    assert pair.server._tail is None


def test_another_suite_keeps_openssl() -> None:
    class Legacy(Certificate):
        def _create_ssl_context(self, srtp_profiles):  # type: ignore[no-untyped-def]
            context = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(b"ECDHE-ECDSA-AES256-SHA")
            return context

    pair = Pair(client_certificate=Legacy.generateCertificate()).shake()
    assert pair.sessions
    pair.server.settle()
    assert pair.server._connection is not None
    pair.client.close()
    assert pair.server.state is DtlsState.CLOSED


def test_both_ends_derive_the_same_keys_crosswise() -> None:
    assert (TAIL.our_key, TAIL.our_salt) == (PEER.peer_key, PEER.peer_salt)
    assert (TAIL.peer_key, TAIL.peer_salt) == (PEER.our_key, PEER.our_salt)
    assert len({TAIL.our_key, TAIL.peer_key}) == 2


def test_the_goodbye_may_follow_another_record_in_the_datagram() -> None:
    other = b"\x16\xfe\xfd" + bytes(8) + b"\x00\x03abc"
    assert TAIL.ends(other + PEER.close_notify(NONCE))


@given(st.data())
def test_a_forged_or_broken_goodbye_is_none(data: st.DataObject) -> None:
    whole = PEER.close_notify(NONCE)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert not TAIL.ends(bytes(changed))
    assert not TAIL.ends(whole[:at])


@given(st.binary(max_size=200))
def test_whatever_arrives_nothing_is_raised_and_nothing_ends(junk: bytes) -> None:
    assert not TAIL.ends(junk)
    assert not TAIL.ends(PEER.close_notify(NONCE)[:RECORD_HEADER_BYTES] + junk)


def test_our_own_goodbye_sent_back_to_us_is_none() -> None:
    assert not TAIL.ends(TAIL.close_notify(secrets.token_bytes(EXPLICIT_NONCE_BYTES)))
