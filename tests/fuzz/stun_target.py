"""Fuzzes STUN checks: StunError and nothing else, and no address gets in without the password."""

from media.api import IceCredentials
from media.ice_lite import Address, IceLite, IceSession
from media.stun import HEADER_BYTES, StunError, binding_request, parse_binding_request

PASSWORD = b"a-password-of-22-chars"
STRANGER = Address(b"\x12\x34\x7f\x00\x00\x09", b"\x7f\x00\x00\x09", 0x1234)


def seeds() -> list[bytes]:
    good = binding_request(bytes(12), b"aaaa:bbbb", PASSWORD)
    nominating = binding_request(b"\x01" * 12, b"aaaa:bbbb", PASSWORD, use_candidate=True)
    restarted = binding_request(b"\x02" * 12, b"cccc:dddd", PASSWORD)
    return [good, nominating, restarted, good[:-8], good[:HEADER_BYTES]]


def check(data: bytes) -> None:
    try:
        request = parse_binding_request(data)
    except StunError:
        request = None
    ice: IceLite[str] = IceLite()
    session = IceSession("owner", IceCredentials("aaaa", PASSWORD.decode(), "bbbb"))
    ice.add(session)
    ice.restart(session, IceCredentials("cccc", PASSWORD.decode(), "dddd"))
    for now_ns in (1, 2):
        checked = ice.receive(data, STRANGER, now_ns)
        if request is None or not request.integrity_ok(PASSWORD):
            assert checked is None
            assert not ice.owners
            assert not session.validated
        if checked is not None:
            assert len(checked.response) <= len(data) + 64, "an answer must not amplify"
    if request is None:
        return
    # What we write ourselves from the same parts is read back as the same parts.
    written = binding_request(
        request.transaction_id,
        request.username,
        PASSWORD,
        priority=request.priority,
        use_candidate=request.use_candidate,
    )
    again = parse_binding_request(written)
    assert (again.transaction_id, again.username) == (request.transaction_id, request.username)
    assert (again.priority, again.use_candidate) == (request.priority, request.use_candidate)
    assert again.integrity_ok(PASSWORD)
