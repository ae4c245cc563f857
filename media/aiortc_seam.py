"""Every private name of aiortc, pylibsrtp and pyOpenSSL that we lean on, in one place.

aiortc 1.16.0 gives the certificate, its TLS context and the SRTP profiles; the handshake is
OpenSSL's, driven by `DtlsSrtp` datagram by datagram without a task of its own, and fed only with
DTLS datagrams from validated addresses. SRTP goes past it altogether. Once the peer has shown that
it is done too, `DtlsSrtp.settle` lets OpenSSL go.
"""

import contextlib
import enum
import functools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
    SRTP_PROFILES,
    RTCCertificate,
    SRTPProtectionProfile,
)
from OpenSSL import SSL
from pylibsrtp import Policy, _binding

from media.dtls_tail import (
    CIPHER_SUITES,
    EXPLICIT_NONCE_BYTES,
    RECORD_HEADER_BYTES,
    VERSION,
    DtlsTail,
)

DATAGRAM_BYTES_MAX = 1_200
"""Of a flight: what passes every path that WebRTC is used on."""
FLIGHT_BYTES_MAX = 65_536
"""No handshake that we begin or answer has a larger one: a certificate takes 400 bytes."""
REPLAY_WINDOW_PACKETS = 1_024
"""SRTP's for what comes in, as aiortc sets it: three seconds of video may come late."""
SEND_WINDOW_PACKETS = 256
"""For what goes out: who still wants a repair that reached us later asks for it on the RTX stream.
libsrtp moves the whole window with every packet, 0.1 µs for 1,024."""

PREFERRED_PROFILES: tuple[SRTPProtectionProfile, ...] = tuple(
    profile
    for profile in (SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_SHA1_80)
    if profile in SRTP_PROFILES
)
"""AES-128-GCM first: with hardware AES it costs less than half of AES-CM with SHA-1."""

_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
)


class Certificate(RTCCertificate):
    """One self-signed certificate and one TLS context for the whole process."""

    _context: SSL.Context | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            context = super()._create_ssl_context(srtp_profiles)
            # A shared context must not resume sessions: every peer shows its own certificate.
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            # Ours first, AES-128-GCM: the suite protects a handshake and a goodbye, and with this
            # one a settled association needs no OpenSSL.
            context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            context.set_cipher_list(_CIPHERS)
            self._context = context
        return self._context

    def sha256_fingerprint(self) -> str:
        """Upper-case hex with colons, as `a=fingerprint:sha-256` wants it."""
        return next(f.value for f in self.getFingerprints() if f.algorithm == "sha-256")


CERTIFICATE_VALID = timedelta(days=30)
"""What aiortc writes into it."""


def new_certificate() -> Certificate:
    """A fresh P-256 key and a certificate valid for `CERTIFICATE_VALID`."""
    return Certificate.generateCertificate()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate digest from an offer, `algorithm` lower case."""

    algorithm: str
    value: str


_DIGESTS = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
"""OpenSSL's names of the hashes that a fingerprint may be made with."""


@dataclass(frozen=True, slots=True)
class SrtpSessions:
    """Both directions' libsrtp contexts. `rx` and `tx` are cffi `srtp_t`, owned by `keep_alive`."""

    rx: Any
    tx: Any
    profile: str
    keep_alive: object

    @property
    def trailer_bytes(self) -> int:
        """What encryption adds to an RTP packet: the authentication tag (RFC 3711, RFC 7714)."""
        return 10 if self.profile == "SRTP_AES128_CM_SHA1_80" else 16


class DtlsState(enum.Enum):
    """How far an association is."""

    SHAKING = enum.auto()
    CONNECTED = enum.auto()
    FAILED = enum.auto()
    CLOSED = enum.auto()


class DtlsSrtp:
    """One peer's DTLS association: a handshake, then SRTP keys, then only alerts.

    `fingerprints` are what the peer announced: all of a known hash must be its certificate's, and
    there must be one. `send` puts one datagram on the wire. Feed it only with DTLS datagrams (first
    byte 20..63) from an address that ICE validated. `srtp` is there once `state` is CONNECTED.
    """

    def __init__(
        self,
        certificate: Certificate,
        fingerprints: Sequence[Fingerprint],
        *,
        server: bool,
        send: Callable[[bytes], None],
    ) -> None:
        self.state = DtlsState.SHAKING
        self.srtp: SrtpSessions | None = None
        self._certificate = certificate
        self._fingerprints = fingerprints
        self._send = send
        self._server = server
        self._connection: SSL.Connection | None = None  # from the first datagram until `settle`
        self._tail: DtlsTail | None = None  # once settled: all that is left of it

    def begin(self) -> None:
        """The peer may be spoken to: a client's first flight leaves, a server waits for it."""
        if not self._server and self._connection is None and self.state is DtlsState.SHAKING:
            self._shake(self._open())

    def feed(self, data: bytes) -> bool:
        """Takes one datagram; False when the association is over."""
        match self.state:
            case DtlsState.SHAKING:
                connection = self._connection or self._open()
                connection.bio_write(data)
                self._shake(connection)
            case DtlsState.CONNECTED:
                self._after_handshake(data)
            case DtlsState.FAILED | DtlsState.CLOSED:
                return False
        return True

    def repeat(self) -> None:
        """Sends the last flight again when it is due (RFC 6347 §4.2.4); call it every so often."""
        connection = self._connection
        if self.state is not DtlsState.SHAKING or connection is None:
            return
        try:
            due = connection.DTLSv1_handle_timeout()
        except SSL.Error:  # repeated often enough
            self.state = DtlsState.FAILED
            return
        if due:
            self._flush(connection)

    def _open(self) -> SSL.Connection:
        context = self._certificate._create_ssl_context(list(PREFERRED_PROFILES))
        connection = self._connection = SSL.Connection(context)
        if self._server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        return connection

    def _shake(self, connection: SSL.Connection) -> None:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            self._flush(connection)
            return
        except SSL.Error:
            self.state = DtlsState.FAILED
            self._flush(connection)
            return
        self._flush(connection)
        profile = _profile_of(connection)
        if profile is None or not _is_who_it_said(connection, self._fingerprints):
            self.state = DtlsState.FAILED
            return
        self.srtp = _srtp_sessions(connection, profile, server=self._server)
        self.state = DtlsState.CONNECTED

    def settle(self) -> bool:
        """The peer has shown that it finished the handshake: keep what a goodbye needs, no more.

        Not earlier: until then it may repeat its last flight, and OpenSSL must answer with ours.
        True when OpenSSL was let go now.
        """
        connection = self._connection
        if connection is None or self.state is not DtlsState.CONNECTED:
            return False
        version, suite = connection.get_protocol_version(), connection.get_cipher_name()
        master = connection.master_key()
        client, server = connection.client_random(), connection.server_random()
        if version != VERSION or suite not in CIPHER_SUITES:
            return False
        if master is None or client is None or server is None:  # only before a handshake
            return False
        self._tail = DtlsTail.derive(master, client, server, server=self._server)
        self._connection = None
        return True

    def _after_handshake(self, data: bytes) -> None:
        if self._tail is not None:
            if self._tail.ends(data):
                self.state = DtlsState.CLOSED
            return
        connection = self._connection
        if connection is None:
            return
        connection.bio_write(data)
        try:
            connection.recv(1_500)
        except SSL.ZeroReturnError:
            self.state = DtlsState.CLOSED
        except SSL.Error:
            pass  # a repeated flight or a bad record: nothing to hand on
        self._flush(connection)

    def close(self) -> None:
        """Says close_notify when there is somebody to hear it, and ends a running handshake."""
        if self.state is DtlsState.CONNECTED:
            if self._tail is not None:
                self._send(self._tail.close_notify(secrets.token_bytes(EXPLICIT_NONCE_BYTES)))
            elif self._connection is not None:
                # An error means that it is broken already: nobody will read the alert.
                with contextlib.suppress(SSL.Error):
                    self._connection.shutdown()
                self._flush(self._connection)
        self.state = DtlsState.CLOSED

    def _flush(self, connection: SSL.Connection) -> None:
        """Sends what OpenSSL wrote: whole records, as many as fit a datagram."""
        try:
            flight = connection.bio_read(FLIGHT_BYTES_MAX)
        except SSL.Error:  # nothing
            return
        for datagram in datagrams(flight):
            self._send(datagram)


def datagrams(flight: bytes) -> list[bytes]:
    """Records one after another, cut into datagrams between records (RFC 6347 §4.1.1)."""
    if len(flight) <= DATAGRAM_BYTES_MAX:
        return [flight]
    found: list[bytes] = []
    start = end = 0
    while end < len(flight):
        after = end + RECORD_HEADER_BYTES + int.from_bytes(flight[end + 11 : end + 13])
        if after - start > DATAGRAM_BYTES_MAX and end > start:
            found.append(flight[start:end])
            start = end
        end = after
    return [*found, flight[start:]]


def _is_who_it_said(connection: SSL.Connection, fingerprints: Sequence[Fingerprint]) -> bool:
    """The certificate's digests are those of the offer (RFC 8122 §5)."""
    certificate = connection.get_peer_certificate()
    known = [f for f in fingerprints if f.algorithm in _DIGESTS]
    if certificate is None or not known:
        return False
    return all(certificate.digest(_DIGESTS[f.algorithm]).decode() == f.value.upper() for f in known)


def _profile_of(connection: SSL.Connection) -> SRTPProtectionProfile | None:
    name = connection.get_selected_srtp_profile()
    return next((p for p in PREFERRED_PROFILES if p.openssl_profile == name), None)


def _srtp_sessions(
    connection: SSL.Connection, profile: SRTPProtectionProfile, *, server: bool
) -> SrtpSessions:
    """Keys from the handshake (RFC 5764 §4.2): the client's first."""
    size = 2 * (profile.key_length + profile.salt_length)
    material = connection.export_keying_material(b"EXTRACTOR-dtls_srtp", size)
    rx = _srtp(
        profile, Policy.SSRC_ANY_INBOUND, profile.get_key_and_salt(material, int(not server))
    )
    tx = _srtp(profile, Policy.SSRC_ANY_OUTBOUND, profile.get_key_and_salt(material, int(server)))
    return SrtpSessions(rx[0], tx[0], profile.openssl_profile.decode(), (rx, tx))


def _srtp(profile: SRTPProtectionProfile, direction: int, key: bytes) -> Any:
    """A pointer to a new libsrtp session, freed with it.

    pylibsrtp's own object would bring a buffer of 1,500 bytes along that nobody uses.
    """
    policy = _policy(profile.libsrtp_profile, direction)
    session = _binding.ffi.new("srtp_t *")
    policy.key = key
    try:
        if _binding.lib.srtp_create(session, policy._policy):
            raise RuntimeError("libsrtp took no keys")
    finally:
        policy.key = None
    return _binding.ffi.gc(session, _free)


@functools.cache
def _policy(libsrtp_profile: int, direction: int) -> Policy:
    """All but the key of a session: one for every peer, prepared once.

    A number that was used is refused, as libsrtp does unless told otherwise (aiortc tells it):
    under AES-GCM two packets with the same one would give the key away (RFC 7714 §8.4).
    """
    policy = Policy(ssrc_type=direction, srtp_profile=libsrtp_profile)
    outbound = direction == Policy.SSRC_ANY_OUTBOUND
    policy.window_size = SEND_WINDOW_PACKETS if outbound else REPLAY_WINDOW_PACKETS
    return policy


def _free(session: Any) -> None:
    _binding.lib.srtp_dealloc(session[0])
