"""The ICE-lite side: who is answered, which addresses belong to whom, where media goes."""

import itertools

from aioice import stun as aioice_stun

from media.api import ADDRESSES_PER_PEER_MAX, CONSENT_TIMEOUT_NS, IceCredentials
from media.ice_lite import (
    QUESTIONS_MAX,
    SELECTED_LATE_NS,
    SELECTED_SILENT_NS,
    TRANSACTIONS_REMEMBERED,
    Address,
    IceLite,
    IceSession,
)
from media.stun import binding_request, binding_success, parse_binding_request

PASSWORD = "server-password-of-some-length"
THEIR_PASSWORD = "client-password-of-some-length"
_transactions = itertools.count(1)


def address(number: int) -> Address:
    ip = bytes([192, 0, 2, number % 256])
    return Address(number.to_bytes(2) + ip, ip, number)


def check(
    username: str = "ours:theirs",
    password: str = PASSWORD,
    *,
    nominate: bool = False,
    transaction: int | None = None,
) -> bytes:
    number = next(_transactions) if transaction is None else transaction
    return binding_request(
        number.to_bytes(12), username.encode(), password.encode(), use_candidate=nominate
    )


def asked(ice: IceLite[str], data: bytes, source: Address, now_ns: int) -> bytes:
    """The question that this check brings up."""
    checked = ice.receive(data, source, now_ns)
    assert checked is not None
    assert not checked.moved
    assert checked.question
    return checked.question


def answer_to(question: bytes, password: str = THEIR_PASSWORD) -> bytes:
    return binding_success(question[8:20], b"\x7f\x00\x00\x01", 8189, password.encode())


def agent() -> tuple[IceLite[str], IceSession[str]]:
    ice: IceLite[str] = IceLite()
    session = IceSession("peer", IceCredentials("ours", PASSWORD, "theirs", THEIR_PASSWORD))
    ice.add(session)
    return ice, session


def test_a_good_check_is_answered_and_its_address_belongs_to_the_peer() -> None:
    ice, session = agent()
    checked = ice.receive(check(), address(1), 5)
    assert checked is not None
    assert checked.moved
    assert ice.owners == {address(1).key: "peer"}
    assert session.last_check_ns == 5
    answer = aioice_stun.parse_message(checked.response)
    assert answer.check_message_integrity(PASSWORD.encode())
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 1)


def test_strangers_meet_silence_and_change_nothing() -> None:
    ice, session = agent()
    for data in (
        check("other:theirs"),
        check("ours:other"),
        check("ours"),
        check("ours:theirs:more"),
        check(":theirs"),
        check(password="guessed-password-of-some-len"),
        b"",
        bytes(20),
    ):
        assert ice.receive(data, address(1), 5) is None
    assert not ice.owners
    assert session.selected is None
    assert session.last_check_ns is None


def test_media_goes_to_the_last_address_until_one_is_nominated() -> None:
    ice, session = agent()
    ice.receive(check(), address(1), 1)
    ice.receive(check(), address(2), 2)
    assert session.selected == address(2)
    moved = ice.receive(check(nominate=True), address(1), 3)
    assert moved is not None
    assert moved.moved
    assert session.selected == address(1)
    again = ice.receive(check(), address(2), 4)
    assert again is not None
    assert not again.moved
    assert session.selected == address(1)


def test_who_says_it_has_moved_is_asked_back_and_media_follows_the_answer() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    question = asked(ice, check(nominate=True), address(2), 2)
    assert session.selected == address(1)
    assert set(ice.owners) == {address(1).key, address(2).key}
    request = parse_binding_request(question)
    assert request.username == b"theirs:ours"
    assert not request.controlling
    assert request.integrity_ok(THEIR_PASSWORD.encode())
    moved = ice.receive(answer_to(question), address(2), 3)
    assert moved is not None
    assert (moved.moved, moved.accepted) == (True, True)
    assert (moved.response, moved.question) == (b"", b"")
    assert session.selected == address(2)
    assert session.last_check_ns == 3
    assert ice.receive(answer_to(question), address(2), 4) is None


def test_a_check_recorded_long_ago_draws_no_media() -> None:
    """The memory of transactions is short on purpose; what protects is the question."""
    ice, session = agent()
    recorded = check(nominate=True)
    ice.receive(recorded, address(1), 1)
    for now_ns in range(2, 2 + 2 * TRANSACTIONS_REMEMBERED):
        ice.receive(check(nominate=True), address(1), now_ns)
    question = asked(ice, recorded, address(66), 100)
    assert session.selected == address(1)
    for forged in (
        answer_to(question, PASSWORD),
        answer_to(question, "a guess of some length"),
        answer_to(binding_request(bytes(12), b"a:b", b"c"), THEIR_PASSWORD),
        question,
        answer_to(question)[:-1],
        answer_to(question)[:20],
    ):
        assert ice.receive(forged, address(66), 101) is None
    assert ice.receive(answer_to(question), address(67), 101) is None
    assert session.selected == address(1)


def test_a_question_is_repeated_a_few_times_and_asked_anew_at_the_next_check() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    question = asked(ice, check(nominate=True), address(2), 0)
    again = ice.receive(check(nominate=True), address(2), 1)
    assert again is not None
    assert not again.question
    sent = 0
    now_ns = 0
    while session.questions:
        now_ns += 20_000_000
        due = ice.due(now_ns)
        assert due in ([], [(question, address(2))])
        sent += len(due)
    assert sent == QUESTIONS_MAX - 1
    assert 3 * 10**9 < now_ns < 4 * 10**9
    assert ice.due(now_ns + 10**12) == []
    other = asked(ice, check(nominate=True), address(2), now_ns)
    assert other != question
    assert ice.receive(answer_to(question), address(2), now_ns) is None
    assert ice.receive(answer_to(other), address(2), now_ns) is not None
    assert session.selected == address(2)


def test_a_peer_that_comes_back_before_the_answer_stays() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    question = asked(ice, check(nominate=True), address(2), 2)
    ice.receive(check(nominate=True), address(1), 3)
    assert ice.receive(answer_to(question), address(2), 4) is None
    assert session.selected == address(1)
    assert ice.due(10**12) == []


def test_where_nothing_comes_from_any_more_media_does_not_stay() -> None:
    """A NAT gave the peer another address: it checks on, and does not know that it moved."""
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 0)
    ice.receive(check(), address(1), 1)
    question = asked(ice, check(), address(2), SELECTED_LATE_NS + 1)
    ice.receive(answer_to(question), address(2), SELECTED_LATE_NS + 2)
    assert session.selected == address(2)


def test_an_address_that_is_kept_in_reserve_is_not_moved_to() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 0)
    for now_ns in (SELECTED_LATE_NS - 1, SELECTED_LATE_NS, SELECTED_SILENT_NS - 1):
        checked = ice.receive(check(), address(2), now_ns)
        assert checked is not None
        assert (checked.moved, checked.question) == (False, b"")
    asked(ice, check(), address(2), SELECTED_SILENT_NS)
    assert session.selected == address(1)


def test_a_restart_makes_open_questions_void() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    question = asked(ice, check(nominate=True), address(2), 2)
    ice.restart(session, RESTARTED)
    ice.receive(restarted_check(nominate=True), address(3), 3)
    assert ice.receive(answer_to(question), address(2), 4) is None
    assert session.selected == address(3)
    assert ice.due(10**12) == []


def test_a_lost_connection_leaves_media_to_the_last_address_that_checked() -> None:
    ice, session = agent()
    stream = Address(b"t-the-one", b"\xc0\x00\x02\x09", 9, stream=True)
    ice.receive(check(), address(1), 1)
    ice.receive(check(nominate=True), stream, 2)
    assert ice.lost(b"t-another") is None
    assert session.selected == stream
    assert ice.lost(stream.key) == "peer"
    assert session.selected == address(1)
    assert stream.key not in ice.owners
    assert ice.lost(address(1).key) == "peer"
    assert session.selected is None
    moved = ice.receive(check(), address(2), 3)
    assert moved is not None
    assert moved.moved


def test_a_copied_check_from_elsewhere_is_not_believed() -> None:
    ice, session = agent()
    captured = check(nominate=True, transaction=9_999_999)
    ice.receive(captured, address(1), 1)
    assert ice.receive(captured, address(66), 2) is None
    assert session.selected == address(1)
    assert ice.receive(captured, address(1), 3) is not None  # the sender's own repetition


def test_at_most_eight_addresses_and_never_the_one_in_use_is_forgotten() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    for number in range(2, 40):
        ice.receive(check(), address(number), number)
    assert len(session.validated) == ADDRESSES_PER_PEER_MAX
    assert set(ice.owners) == set(session.validated)
    assert address(1).key in ice.owners
    assert address(39).key in ice.owners
    assert address(2).key not in ice.owners
    assert len(session.transactions) <= TRANSACTIONS_REMEMBERED


def test_a_living_peers_address_cannot_be_taken_over() -> None:
    ice, session = agent()
    other = IceSession("other", IceCredentials("second", PASSWORD, "theirs", THEIR_PASSWORD))
    ice.add(other)
    ice.receive(check(nominate=True), address(1), 1)
    assert ice.receive(check("second:theirs"), address(1), 2) is None
    assert ice.owners[address(1).key] == "peer"
    later = 2 + CONSENT_TIMEOUT_NS
    assert ice.receive(check("second:theirs"), address(1), later) is not None
    assert ice.owners[address(1).key] == "other"
    assert address(1).key not in session.validated


def test_after_removal_the_peer_is_a_stranger_again() -> None:
    ice, session = agent()
    ice.receive(check(), address(1), 1)
    ice.remove(session)
    assert not ice.owners
    assert len(ice) == 0
    assert ice.receive(check(), address(1), 2) is None
    ice.remove(session)


def test_a_peer_that_wants_to_be_controlled_is_told_so_and_gains_nothing() -> None:
    ice, session = agent()
    message = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
    )
    message.attributes["USERNAME"] = "ours:theirs"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLED"] = 1
    message.add_message_integrity(PASSWORD.encode())
    checked = ice.receive(bytes(message), address(1), 1)
    assert checked is not None
    assert not checked.accepted
    assert not ice.owners
    assert session.last_check_ns is None
    answer = aioice_stun.parse_message(checked.response)
    assert answer.check_message_integrity(PASSWORD.encode())
    assert answer.attributes["ERROR-CODE"][0] == 487


RESTARTED = IceCredentials(
    "anew", "another-password-of-some-length", "theirs2", "their-password-after-a-restart"
)


def restarted_check(*, nominate: bool = False) -> bytes:
    return check("anew:theirs2", RESTARTED.local_password, nominate=nominate)


def test_until_a_restart_is_used_everything_stays_as_it_was() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    ice.restart(session, RESTARTED)
    assert session.newest is RESTARTED
    for stranger in (check("anew:theirs2"), check("anew:theirs", RESTARTED.local_password)):
        assert ice.receive(stranger, address(2), 2) is None
    assert ice.receive(check(), address(1), 3) is not None
    assert (session.selected, session.offered) == (address(1), RESTARTED)


def test_the_first_check_of_a_restart_ends_the_old_credentials_and_moves_the_media() -> None:
    ice, session = agent()
    ice.receive(check(nominate=True), address(1), 1)
    ice.restart(session, RESTARTED)
    checked = ice.receive(restarted_check(), address(2), 2)
    assert checked is not None
    assert checked.moved
    answer = aioice_stun.parse_message(checked.response)
    assert answer.check_message_integrity(RESTARTED.local_password.encode())
    assert (session.credentials, session.offered) == (RESTARTED, None)
    assert session.selected == address(2)
    assert ice.receive(check(nominate=True), address(1), 3) is None
    assert len(ice) == 1
    assert address(1).key in ice.owners, "packets under way from the old address still count"
    nominated = ice.receive(restarted_check(nominate=True), address(3), 4)
    assert nominated is not None
    assert nominated.moved
    ice.receive(restarted_check(), address(2), 5)
    assert session.selected == address(3)


def test_of_several_restarts_only_the_last_counts() -> None:
    ice, session = agent()
    ice.restart(session, IceCredentials("lost", RESTARTED.local_password, "theirs2", "w" * 22))
    ice.restart(session, RESTARTED)
    assert len(ice) == 2
    assert ice.receive(check("lost:theirs2", RESTARTED.local_password), address(1), 1) is None
    assert ice.receive(restarted_check(), address(1), 2) is not None


def test_a_role_conflict_does_not_use_a_restart_up() -> None:
    ice, session = agent()
    ice.restart(session, RESTARTED)
    message = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
    )
    message.attributes["USERNAME"] = "anew:theirs2"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLED"] = 1
    message.add_message_integrity(RESTARTED.local_password.encode())
    assert ice.receive(bytes(message), address(1), 1) is not None
    assert session.offered is RESTARTED


def test_after_removal_neither_credentials_are_answered() -> None:
    ice, session = agent()
    ice.restart(session, RESTARTED)
    ice.remove(session)
    assert len(ice) == 0
    for data in (check(), restarted_check()):
        assert ice.receive(data, address(1), 1) is None
