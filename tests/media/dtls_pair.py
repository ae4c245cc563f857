"""Two DTLS ends joined by a wire that a test may tamper with."""

from collections.abc import Callable

from aiortc.rtcdtlstransport import SRTPProtectionProfile
from OpenSSL import SSL

from media.aiortc_seam import (
    Certificate,
    DtlsSrtp,
    Fingerprint,
    SrtpSessions,
    new_certificate,
)
from media.batch import PacketBuffer, srtp_protect
from media.dtls_tail import RECORD_HEADER_BYTES

RTP = bytes([0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9]) + bytes(range(100))


class Pair:
    """A server and a client; `sent` is everything that went over the wire."""

    def __init__(
        self,
        wire: Callable[[bytes], bytes | None] = lambda data: data,
        *,
        server_expects: Certificate | None = None,
        server_certificate: Certificate | None = None,
        client_certificate: Certificate | None = None,
    ) -> None:
        self.server_certificate = server_certificate or new_certificate()
        self.client_certificate = client_certificate or new_certificate()
        self.sent: list[bytes] = []
        self.wire = wire
        expected = fingerprint(server_expects or self.client_certificate)
        self.server = DtlsSrtp(
            self.server_certificate, [expected], server=True, send=self._to_client
        )
        self.client = DtlsSrtp(
            self.client_certificate,
            [fingerprint(self.server_certificate)],
            server=False,
            send=self._to_server,
        )

    def _to_client(self, data: bytes) -> None:
        self.sent.append(data)
        if (data_out := self.wire(data)) is not None:
            self.client.feed(data_out)

    def _to_server(self, data: bytes) -> None:
        self.sent.append(data)
        if (data_out := self.wire(data)) is not None:
            self.server.feed(data_out)

    def shake(self) -> "Pair":
        """The whole handshake, when nothing of it is lost."""
        self.client.begin()
        return self

    @property
    def sessions(self) -> tuple[SrtpSessions, SrtpSessions]:
        """The server's keys and the client's; AssertionError unless both have some."""
        assert self.server.srtp is not None
        assert self.client.srtp is not None
        return self.server.srtp, self.client.srtp


class Stranger(Certificate):
    """An end with OpenSSL's own ideas: it keeps sessions, takes tickets, and renegotiates."""

    ciphers = b"DEFAULT"

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            context = self._context = SSL.Context(SSL.DTLS_METHOD)
            context.set_session_cache_mode(SSL.SESS_CACHE_BOTH)
            context.set_verify(SSL.VERIFY_PEER, lambda *args: True)
            context.use_certificate(self._cert)
            context.use_privatekey(self._key)
            context.set_cipher_list(self.ciphers)
            context.set_tlsext_use_srtp(b":".join(p.openssl_profile for p in srtp_profiles))
        return self._context


def fingerprint(certificate: Certificate) -> Fingerprint:
    return Fingerprint("sha-256", certificate.sha256_fingerprint())


def records_of(datagram: bytes) -> list[tuple[int, bytes]]:
    """The records of a datagram: their content types (RFC 6347 §4.1) and fragments."""
    found = []
    while datagram:
        end = RECORD_HEADER_BYTES + int.from_bytes(datagram[11:RECORD_HEADER_BYTES])
        found.append((datagram[0], datagram[RECORD_HEADER_BYTES:end]))
        datagram = datagram[end:]
    return found


def protected(sessions: SrtpSessions, sequence: int = 1) -> tuple[PacketBuffer, int]:
    buffer = PacketBuffer()
    buffer.data[: len(RTP)] = RTP[:2] + sequence.to_bytes(2) + RTP[4:]
    buffer.length_pointer[0] = len(RTP)
    assert srtp_protect(sessions.tx, buffer.pointer, buffer.length_pointer) == 0
    return buffer, buffer.length_pointer[0]
