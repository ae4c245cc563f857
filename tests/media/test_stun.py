"""STUN binding messages: what is read, what is refused, and that only StunError comes out."""

import hmac
import struct
import zlib

import pytest
from aioice import stun as aioice_stun
from hypothesis import given
from hypothesis import strategies as st

from media.stun import (
    ATTR_FINGERPRINT,
    ATTR_USERNAME,
    StunError,
    binding_request,
    binding_role_conflict,
    binding_success,
    parse_binding_request,
)

TRANSACTION = bytes(range(12))
PASSWORD = b"a-password-of-22-chars"


def request(**options: bool) -> bytes:
    return binding_request(TRANSACTION, b"local:remote", PASSWORD, priority=77, **options)


def sealed_again(message: bytes) -> bytes:
    """A correct FINGERPRINT in place of the one that no longer fits."""
    body = message[:-8]
    crc = zlib.crc32(body) ^ 0x5354554E
    return body + struct.pack("!HHI", ATTR_FINGERPRINT, 4, crc)


def test_a_check_is_read_with_all_that_ice_needs() -> None:
    parsed = parse_binding_request(request(use_candidate=True))
    assert parsed.username == b"local:remote"
    assert parsed.priority == 77
    assert parsed.use_candidate
    assert parsed.controlling
    assert parsed.transaction_id == TRANSACTION
    assert parsed.integrity_ok(PASSWORD)
    assert not parsed.integrity_ok(b"another-password-of-22")


def test_another_implementation_reads_our_answer() -> None:
    data = binding_success(TRANSACTION, bytes([192, 0, 2, 1]), 40_000, PASSWORD)
    message = aioice_stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD)
    assert message.message_class == aioice_stun.Class.RESPONSE
    assert message.transaction_id == TRANSACTION
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 40_000)


def test_an_ipv6_answer_is_read_too() -> None:
    data = binding_success(TRANSACTION, bytes.fromhex("20010db8" + "00" * 11 + "01"), 1, PASSWORD)
    message = aioice_stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD)
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("2001:db8::1", 1)


def test_a_role_conflict_is_told_as_487() -> None:
    data = binding_role_conflict(TRANSACTION, PASSWORD)
    message = aioice_stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD)
    assert message.attributes["ERROR-CODE"] == (487, "Role Conflict")


def test_we_read_the_check_of_another_implementation() -> None:
    message = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
    )
    message.attributes["USERNAME"] = "local:remote"
    message.attributes["PRIORITY"] = 5
    message.attributes["ICE-CONTROLLED"] = 7
    message.add_message_integrity(PASSWORD)
    parsed = parse_binding_request(bytes(message))
    assert parsed.integrity_ok(PASSWORD)
    assert not parsed.controlling
    assert not parsed.use_candidate


def test_any_changed_byte_is_noticed() -> None:
    good = request(use_candidate=True)
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 0x01
        with pytest.raises(StunError):
            parse_binding_request(bytes(changed))
        # With a repaired checksum (a deliberate forger can) the signature still fails.
        if 20 <= position < len(good) - 32:
            try:
                parsed = parse_binding_request(sealed_again(bytes(changed)))
            except StunError:
                continue
            assert not parsed.integrity_ok(PASSWORD)


def test_checks_without_credentials_are_refused() -> None:
    bare = struct.pack("!HHI12s", 1, 0, 0x2112A442, TRANSACTION)
    for message in (bare, sealed_again(bare + bytes(8))):
        with pytest.raises(StunError):
            parse_binding_request(message)
    without_fingerprint = request()[:-8]
    without_fingerprint = (
        without_fingerprint[:2]
        + struct.pack("!H", len(without_fingerprint) - 20)
        + without_fingerprint[4:]
    )
    with pytest.raises(StunError, match="credentials"):
        parse_binding_request(without_fingerprint)


def test_attributes_after_the_signature_do_not_count() -> None:
    good = request()
    extra = struct.pack("!HH", 0x0025, 0)  # an unsigned USE-CANDIDATE
    body = good[:-8] + extra
    message = body[:2] + struct.pack("!H", len(body) + 8 - 20) + body[4:]
    parsed = parse_binding_request(sealed_again(message + bytes(8)))
    assert not parsed.use_candidate
    assert parsed.integrity_ok(PASSWORD)


@pytest.mark.parametrize("kind", [0x0101, 0x0111, 0x0011, 0x0003])
def test_only_requests_are_read(kind: int) -> None:
    good = request()
    with pytest.raises(StunError):
        parse_binding_request(sealed_again(struct.pack("!H", kind) + good[2:]))


def test_an_unknown_required_attribute_is_refused() -> None:
    attribute = struct.pack("!HH", 0x7FFF, 0)
    username = struct.pack("!HH", ATTR_USERNAME, 3) + b"a:b\0"
    body = attribute + username
    head = struct.pack("!HHI12s", 1, len(body) + 24, 0x2112A442, TRANSACTION)
    signed = head + body
    message = signed + struct.pack("!HH", 8, 20) + hmac.digest(PASSWORD, signed, "sha1")
    message = message[:2] + struct.pack("!H", len(message) + 8 - 20) + message[4:]
    with pytest.raises(StunError, match="comprehension"):
        parse_binding_request(sealed_again(message + bytes(8)))


def test_an_attribute_of_the_wrong_size_is_refused() -> None:
    """The well-formed neighbour of the fault that lets struct.error out of other parsers."""
    attributes = struct.pack("!HH3sx", ATTR_USERNAME, 3, b"a:b")
    attributes += struct.pack("!HHHxx", 0x0024, 2, 7)  # PRIORITY has four bytes
    signed = struct.pack("!HHI12s", 1, len(attributes) + 24, 0x2112A442, TRANSACTION) + attributes
    message = signed + struct.pack("!HH", 8, 20) + hmac.digest(PASSWORD, signed, "sha1")
    message = message[:2] + struct.pack("!H", len(message) + 8 - 20) + message[4:]
    with pytest.raises(StunError, match="wrong size"):
        parse_binding_request(sealed_again(message + bytes(8)))


@given(st.binary(max_size=200))
def test_noise_is_a_stun_error(data: bytes) -> None:
    with pytest.raises(StunError):
        parse_binding_request(data)


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.integers(0, 40), st.binary(max_size=40)), max_size=30
    )
)
def test_noise_behind_a_good_header_is_a_stun_error_or_unsigned(
    attributes: list[tuple[int, int, bytes]],
) -> None:
    body = b"".join(struct.pack("!HH", kind, size) + value for kind, size, value in attributes)
    body += bytes(-len(body) % 4)
    message = struct.pack("!HHI12s", 1, len(body) + 8, 0x2112A442, TRANSACTION) + body
    try:
        parsed = parse_binding_request(sealed_again(message + bytes(8)))
    except StunError:
        return
    assert not parsed.integrity_ok(PASSWORD)


@given(st.integers(0, 130), st.binary(min_size=1, max_size=8))
def test_a_damaged_check_is_a_stun_error(position: int, noise: bytes) -> None:
    good = request(use_candidate=True)
    damaged = (good[:position] + noise + good[position + len(noise) :])[: len(good)]
    if damaged == good:
        return
    try:
        parsed = parse_binding_request(damaged)
    except StunError:
        return
    assert not parsed.integrity_ok(PASSWORD)
