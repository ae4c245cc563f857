"""Fuzzes STUN messages: StunError and nothing else, no address gets in without the password, and no
answer but the peer's own moves media.
"""

import contextlib

from media.api import IceCredentials
from media.ice_lite import Address, IceLite, IceSession
from media.stun import (
    HEADER_BYTES,
    BindingSuccess,
    StunError,
    binding_request,
    binding_success,
    parse_binding_request,
    parse_binding_success,
)

PASSWORD = b"a-password-of-22-chars"
THEIR_PASSWORD = b"their-password-1234567"
HOME = Address(b"\x12\x33\x7f\x00\x00\x08", b"\x7f\x00\x00\x08", 0x1233)
STRANGER = Address(b"\x12\x34\x7f\x00\x00\x09", b"\x7f\x00\x00\x09", 0x1234)


def seeds() -> list[bytes]:
    good = binding_request(bytes(12), b"aaaa:bbbb", PASSWORD)
    nominating = binding_request(b"\x01" * 12, b"aaaa:bbbb", PASSWORD, use_candidate=True)
    restarted = binding_request(b"\x02" * 12, b"cccc:dddd", PASSWORD)
    _, _, question = _moving()
    answer = binding_success(question[8:20], b"\x7f\x00\x00\x01", 8189, THEIR_PASSWORD)
    return [good, nominating, restarted, good[:-8], good[:HEADER_BYTES], answer, answer[:-8]]


def _moving() -> tuple[IceLite[str], IceSession[str], bytes]:
    """A peer at home that said it is at the stranger's address now, and what it is asked."""
    ice: IceLite[str] = IceLite()
    credentials = IceCredentials("aaaa", PASSWORD.decode(), "bbbb", THEIR_PASSWORD.decode())
    session = IceSession("owner", credentials)
    ice.add(session)
    for number, source in enumerate((HOME, STRANGER)):
        said = binding_request(
            (7 + number).to_bytes(12), b"aaaa:bbbb", PASSWORD, use_candidate=True
        )
        checked = ice.receive(said, source, 1)
    assert checked is not None
    return ice, session, checked.question


def check(data: bytes) -> None:
    _check_request(data)
    _check_answer(data)


def _check_answer(data: bytes) -> None:
    answer: BindingSuccess | None = None
    with contextlib.suppress(StunError):
        answer = parse_binding_success(data)
    ice, session, question = _moving()
    ice.receive(data, STRANGER, 2)
    moved = session.selected == STRANGER
    good = answer is not None and answer.integrity_ok(THEIR_PASSWORD)
    assert moved == (good and answer is not None and answer.transaction_id == question[8:20])


def _check_request(data: bytes) -> None:
    try:
        request = parse_binding_request(data)
    except StunError:
        request = None
    ice: IceLite[str] = IceLite()
    session = IceSession(
        "owner", IceCredentials("aaaa", PASSWORD.decode(), "bbbb", THEIR_PASSWORD.decode())
    )
    ice.add(session)
    ice.restart(session, IceCredentials("cccc", PASSWORD.decode(), "dddd", THEIR_PASSWORD.decode()))
    for now_ns in (1, 2):
        checked = ice.receive(data, STRANGER, now_ns)
        if request is None or not request.integrity_ok(PASSWORD):
            assert checked is None
            assert not ice.owners
            assert not session.validated
        if checked is not None:
            assert len(checked.response) <= len(data) + 64, "an answer must not amplify"
            assert not checked.question, "nobody has moved"
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
