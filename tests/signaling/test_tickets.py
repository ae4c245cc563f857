"""One-time tickets and resume tokens."""

import pytest

from rooms.roles import Visitor, VisitorKind
from signaling import tickets as module
from signaling.tickets import TICKET_TTL_S, ResumeTokens, Tickets, random_token

MIA = Visitor(VisitorKind.MEMBER, "m1", "mia")
MAX = Visitor(VisitorKind.MEMBER, "m2", "max")


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_a_ticket_is_good_once() -> None:
    tickets = Tickets(clock_ns=Clock())
    ticket = tickets.issue(MIA)
    assert ticket.expires_s == TICKET_TTL_S
    assert tickets.redeem(ticket.token) == MIA
    assert tickets.redeem(ticket.token) is None
    assert tickets.redeem("guess") is None


def test_a_ticket_is_good_for_thirty_seconds() -> None:
    clock = Clock()
    tickets = Tickets(clock_ns=clock)
    first, second = tickets.issue(MIA), tickets.issue(MIA)
    clock.now_ns = TICKET_TTL_S * 1_000_000_000 - 1
    assert tickets.redeem(first.token) == MIA
    clock.now_ns += 1
    assert tickets.redeem(second.token) is None


def test_a_logout_kills_the_tickets_of_that_account_only() -> None:
    tickets = Tickets(clock_ns=Clock())
    hers, his = tickets.issue(MIA), tickets.issue(MAX)
    tickets.revoke(MIA)
    assert tickets.redeem(hers.token) is None
    assert tickets.redeem(his.token) == MAX


def test_tickets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICKETS_MAX", 3)
    tickets = Tickets(clock_ns=Clock())
    issued = [tickets.issue(MIA).token for _ in range(5)]
    assert [tickets.redeem(token) is not None for token in issued] == [False] * 2 + [True] * 3


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {random_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 32 for token in tokens)


def test_a_resume_token_lives_as_long_as_its_place() -> None:
    resume = ResumeTokens()
    token = resume.token_for("p1")
    assert resume.token_for("p1") == token
    assert resume.place(token) == "p1"
    assert resume.token_for("p2") != token
    resume.forget("p1")
    resume.forget("p1")
    assert resume.place(token) is None
    assert resume.token_for("p1") != token
