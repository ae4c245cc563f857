"""STUN binding messages as an ICE-lite server needs them (RFC 8489, RFC 8445 §7.3), sans-IO.

It reads binding requests and writes their answers; it writes requests of its own and reads their
answers. Whatever is not well-formed is a `StunError`, and the caller stays silent.
"""

import hmac
import struct
import zlib
from dataclasses import dataclass

MAGIC_COOKIE = 0x2112A442
BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111

HEADER_BYTES = 20
USERNAME_BYTES_MAX = 513
"""RFC 8489 §14.3."""
ATTRIBUTES_MAX = 24
"""A browser's check carries eight or so."""

ATTR_USERNAME = 0x0006
ATTR_MESSAGE_INTEGRITY = 0x0008
ATTR_ERROR_CODE = 0x0009
ATTR_XOR_MAPPED_ADDRESS = 0x0020
ATTR_PRIORITY = 0x0024
ATTR_USE_CANDIDATE = 0x0025
ATTR_FINGERPRINT = 0x8028
ATTR_ICE_CONTROLLED = 0x8029
ATTR_ICE_CONTROLLING = 0x802A

_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY_BYTES = 20
_KNOWN_REQUIRED = frozenset(
    {ATTR_USERNAME, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE}
)
_FIXED_LENGTHS = {
    ATTR_MESSAGE_INTEGRITY: _INTEGRITY_BYTES,
    ATTR_PRIORITY: 4,
    ATTR_USE_CANDIDATE: 0,
    ATTR_FINGERPRINT: 4,
    ATTR_ICE_CONTROLLED: 8,
    ATTR_ICE_CONTROLLING: 8,
}

_header = struct.Struct("!HHI12s")
_attribute = struct.Struct("!HH")


class StunError(ValueError):
    """Not a binding request that may be answered, nor an answer to one of ours."""


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """A well-formed check whose integrity is not verified yet; see `integrity_ok`.

    `signed` is the message up to MESSAGE-INTEGRITY with the length field that the sender signed.
    """

    transaction_id: bytes
    username: bytes
    priority: int
    use_candidate: bool
    controlling: bool
    signed: bytes
    integrity: bytes

    def integrity_ok(self, password: bytes) -> bool:
        """True when the sender knows the password (RFC 8489 §14.5, short-term credential)."""
        return hmac.compare_digest(hmac.digest(password, self.signed, "sha1"), self.integrity)


@dataclass(frozen=True, slots=True)
class BindingSuccess:
    """A well-formed answer whose integrity is not verified yet; `signed` as in `BindingRequest`."""

    transaction_id: bytes
    signed: bytes
    integrity: bytes

    def integrity_ok(self, password: bytes) -> bool:
        """True when the sender knows the password that the request was signed with."""
        return hmac.compare_digest(hmac.digest(password, self.signed, "sha1"), self.integrity)


def is_binding_success(data: bytes) -> bool:
    """By its type alone."""
    return data[:2] == BINDING_SUCCESS.to_bytes(2)


def parse_binding_request(data: bytes) -> BindingRequest:
    """Reads one check. Raises StunError and nothing else.

    USERNAME, MESSAGE-INTEGRITY and FINGERPRINT must be there; attributes after MESSAGE-INTEGRITY
    other than FINGERPRINT are ignored (RFC 8489 §14.5) and FINGERPRINT must come last (§14.7).
    """
    transaction_id = _check_header(data, BINDING_REQUEST)
    values, integrity_at, fingerprint_at = _attributes(data)
    if any(kind < 0x8000 and kind not in _KNOWN_REQUIRED for kind in values):
        raise StunError("unknown comprehension-required attribute")
    if integrity_at < 0 or fingerprint_at < 0 or ATTR_USERNAME not in values:
        raise StunError("credentials missing")
    _check_fingerprint(data, fingerprint_at, values[ATTR_FINGERPRINT])
    return _request(transaction_id, data, integrity_at, values)


def parse_binding_success(data: bytes) -> BindingSuccess:
    """Reads the answer to one of our requests. Raises StunError and nothing else.

    Only who signed it matters: the address in it is not read, and FINGERPRINT, which demultiplexes,
    may be missing.
    """
    transaction_id = _check_header(data, BINDING_SUCCESS)
    values, integrity_at, fingerprint_at = _attributes(data)
    if integrity_at < 0:
        raise StunError("credentials missing")
    if fingerprint_at >= 0:
        _check_fingerprint(data, fingerprint_at, values[ATTR_FINGERPRINT])
    signed = _signed(data, integrity_at)
    return BindingSuccess(transaction_id, signed, values[ATTR_MESSAGE_INTEGRITY])


def _attributes(data: bytes) -> tuple[dict[int, bytes], int, int]:
    """Values by kind, and where MESSAGE-INTEGRITY and FINGERPRINT begin, -1 for missing."""
    values: dict[int, bytes] = {}
    integrity_at = fingerprint_at = -1
    offset = HEADER_BYTES
    for _ in range(ATTRIBUTES_MAX):
        if offset == len(data):
            break
        if fingerprint_at >= 0 or len(data) - offset < _attribute.size:
            raise StunError("bytes after the last attribute")
        kind, length = _attribute.unpack_from(data, offset)
        start = offset + _attribute.size
        padded = (length + 3) & ~3
        if start + padded > len(data):
            raise StunError("attribute longer than the message")
        if kind == ATTR_FINGERPRINT:
            fingerprint_at = offset
        if integrity_at < 0 or kind == ATTR_FINGERPRINT:
            _check_attribute(kind, length)
            values.setdefault(kind, data[start : start + length])
            if kind == ATTR_MESSAGE_INTEGRITY:
                integrity_at = offset
        offset = start + padded
    else:
        raise StunError("too many attributes")
    return values, integrity_at, fingerprint_at


def _check_header(data: bytes, wanted: int) -> bytes:
    if len(data) < HEADER_BYTES:
        raise StunError("shorter than a header")
    kind, length, cookie, transaction_id = _header.unpack_from(data)
    if kind != wanted or cookie != MAGIC_COOKIE:
        raise StunError("another kind of message")
    if length % 4 or length != len(data) - HEADER_BYTES:
        raise StunError("length field is wrong")
    return bytes(transaction_id)


def _check_attribute(kind: int, length: int) -> None:
    expected = _FIXED_LENGTHS.get(kind)
    if expected is not None and length != expected:
        raise StunError("attribute of the wrong size")
    if kind == ATTR_USERNAME and not 0 < length <= USERNAME_BYTES_MAX:
        raise StunError("username of the wrong size")


def _check_fingerprint(data: bytes, offset: int, value: bytes) -> None:
    crc = zlib.crc32(data[:offset]) ^ _FINGERPRINT_XOR
    if crc != int.from_bytes(value):
        raise StunError("fingerprint is wrong")


def _request(
    transaction_id: bytes, data: bytes, integrity_at: int, values: dict[int, bytes]
) -> BindingRequest:
    return BindingRequest(
        transaction_id=transaction_id,
        username=values[ATTR_USERNAME],
        priority=int.from_bytes(values.get(ATTR_PRIORITY, b"")),
        use_candidate=ATTR_USE_CANDIDATE in values,
        controlling=ATTR_ICE_CONTROLLED not in values,
        signed=_signed(data, integrity_at),
        integrity=values[ATTR_MESSAGE_INTEGRITY],
    )


def _signed(data: bytes, integrity_at: int) -> bytes:
    # The signature covers a length field as if MESSAGE-INTEGRITY were the last attribute.
    signed_length = integrity_at + _attribute.size + _INTEGRITY_BYTES - HEADER_BYTES
    return data[:2] + signed_length.to_bytes(2) + data[4:integrity_at]


def binding_success(transaction_id: bytes, address: bytes, port: int, password: bytes) -> bytes:
    """The answer to a good check. `address` is packed: 4 bytes for IPv4, 16 for IPv6."""
    return _sealed(
        BINDING_SUCCESS,
        transaction_id,
        _encoded(ATTR_XOR_MAPPED_ADDRESS, _xor_address(transaction_id, address, port)),
        password,
    )


def binding_role_conflict(transaction_id: bytes, password: bytes) -> bytes:
    """487: a lite agent is always controlled, the asker must control (RFC 8445 §7.3.1.1)."""
    value = b"\x00\x00\x04\x57" + b"Role Conflict"
    return _sealed(BINDING_ERROR, transaction_id, _encoded(ATTR_ERROR_CODE, value), password)


def binding_request(
    transaction_id: bytes,
    username: bytes,
    password: bytes,
    *,
    priority: int = 1,
    use_candidate: bool = False,
    controlling: bool = True,
) -> bytes:
    """A check as a controlling client sends it, or a controlled server."""
    attributes = _encoded(ATTR_USERNAME, username) + _encoded(ATTR_PRIORITY, priority.to_bytes(4))
    role = ATTR_ICE_CONTROLLING if controlling else ATTR_ICE_CONTROLLED
    attributes += _encoded(role, transaction_id[:8])
    if use_candidate:
        attributes += _encoded(ATTR_USE_CANDIDATE, b"")
    return _sealed(BINDING_REQUEST, transaction_id, attributes, password)


def _encoded(kind: int, value: bytes) -> bytes:
    return _attribute.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _xor_address(transaction_id: bytes, address: bytes, port: int) -> bytes:
    family = 1 if len(address) == 4 else 2
    mask = MAGIC_COOKIE.to_bytes(4) + transaction_id
    masked = bytes(byte ^ mask[i] for i, byte in enumerate(address))
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + masked


def _sealed(kind: int, transaction_id: bytes, attributes: bytes, password: bytes) -> bytes:
    """Adds header, MESSAGE-INTEGRITY and FINGERPRINT."""
    length = len(attributes) + _attribute.size + _INTEGRITY_BYTES
    message = _header.pack(kind, length, MAGIC_COOKIE, transaction_id) + attributes
    message += _encoded(ATTR_MESSAGE_INTEGRITY, hmac.digest(password, message, "sha1"))
    message = message[:2] + (length + 8).to_bytes(2) + message[4:]
    crc = zlib.crc32(message) ^ _FINGERPRINT_XOR
    return message + _encoded(ATTR_FINGERPRINT, crc.to_bytes(4))
