"""What is left of DTLS once its keys protect the media: hear the peer's goodbye, and say ours.

After the handshake only alerts travel. OpenSSL's connection object holds 57 kB for them; the four
secrets that they need are 40 bytes. This is DTLS 1.2 (RFC 6347 §4.1) with AES-128-GCM (RFC 5288)
and nothing else; whoever negotiated something else keeps the connection object.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CIPHER_SUITES: Final = frozenset({"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"})
"""OpenSSL's names of the suites whose key block and record format are the ones below."""
VERSION: Final = 0xFEFD
"""DTLS 1.2, on the wire and in OpenSSL."""
RECORD_HEADER_BYTES: Final = 13
EXPLICIT_NONCE_BYTES: Final = 8

_KEY_BYTES: Final = 16
_SALT_BYTES: Final = 4
_TAG_BYTES: Final = 16
_ALERT_BYTES: Final = 2
_ALERT: Final = 21
_EPOCH: Final = 1
_LEVEL_WARNING, _LEVEL_FATAL = 1, 2
_CLOSE_NOTIFY: Final = 0
_SEQUENCE: Final = 1 << 20
"""Of our goodbye: above everything that the handshake and its repeats can have used in this epoch,
so that the peer's replay window takes it."""
_HEADER: Final = struct.Struct("!BHQH")  # type, version, epoch (16 bits) with sequence (48), length


@dataclass(frozen=True, slots=True)
class DtlsTail:
    """The write keys and salts of both sides."""

    our_key: bytes
    our_salt: bytes
    peer_key: bytes
    peer_salt: bytes

    @classmethod
    def derive(
        cls, master_secret: bytes, client_random: bytes, server_random: bytes, *, server: bool
    ) -> DtlsTail:
        """The key block of RFC 5246 §6.3; `server` says that we were the DTLS server."""
        size = 2 * (_KEY_BYTES + _SALT_BYTES)
        block = _expand(master_secret, b"key expansion" + server_random + client_random, size)
        salts = 2 * _KEY_BYTES
        client = block[:_KEY_BYTES], block[salts : salts + _SALT_BYTES]
        other = block[_KEY_BYTES:salts], block[salts + _SALT_BYTES :]
        return cls(*other, *client) if server else cls(*client, *other)

    def ends(self, datagram: bytes) -> bool:
        """True when the peer says in it that the association is over; everything else is ignored.

        Only an alert that authenticates counts: close_notify, or any fatal one.
        """
        position = 0
        while position + RECORD_HEADER_BYTES <= len(datagram):
            kind, version, number, length = _HEADER.unpack_from(datagram, position)
            start = position + RECORD_HEADER_BYTES
            position = start + length
            if position > len(datagram):
                return False
            if kind == _ALERT and version == VERSION and number >> 48 == _EPOCH:
                alert = self._open(number, datagram[start:position])
                if alert is not None and (alert[0] == _LEVEL_FATAL or alert[1] == _CLOSE_NOTIFY):
                    return True
        return False

    def close_notify(self, nonce: bytes) -> bytes:
        """Our goodbye as one datagram. `nonce` is `EXPLICIT_NONCE_BYTES` of fresh randomness."""
        number = _EPOCH << 48 | _SEQUENCE
        alert = bytes((_LEVEL_WARNING, _CLOSE_NOTIFY))
        sealed = AESGCM(self.our_key).encrypt(
            self.our_salt + nonce, alert, _additional(number, len(alert))
        )
        body = nonce + sealed
        return _HEADER.pack(_ALERT, VERSION, number, len(body)) + body

    def _open(self, number: int, body: bytes) -> bytes | None:
        if len(body) != EXPLICIT_NONCE_BYTES + _ALERT_BYTES + _TAG_BYTES:
            return None
        nonce = self.peer_salt + body[:EXPLICIT_NONCE_BYTES]
        try:
            return AESGCM(self.peer_key).decrypt(
                nonce, body[EXPLICIT_NONCE_BYTES:], _additional(number, _ALERT_BYTES)
            )
        except InvalidTag:
            return None


def _additional(number: int, plain_bytes: int) -> bytes:
    """What GCM authenticates beside the text (RFC 5246 §6.2.3.3, RFC 6347 §4.1.2.1)."""
    return struct.pack("!QBHH", number, _ALERT, VERSION, plain_bytes)


def _expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 of RFC 5246 §5."""
    block, chain = b"", seed
    while len(block) < size:
        chain = hmac.digest(secret, chain, hashlib.sha256)
        block += hmac.digest(secret, chain + seed, hashlib.sha256)
    return block[:size]
