"""One-time tickets that let a WebSocket in, and the tokens by which a lost one finds its place."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from rooms.roles import Visitor

TICKET_TTL_S = 30
"""Long enough for a slow phone between POST and upgrade, too short to be worth stealing."""
TICKETS_MAX = 50_000
"""Unredeemed tickets kept; at about 300 bytes each this is 15 MB."""
TOKEN_BYTES = 24
"""192 random bits: not guessable."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What `POST /api/v1/ws-ticket` answers with."""

    token: str
    expires_s: int


def random_token() -> str:
    """A fresh unguessable token, safe in URLs and JSON."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Tickets:
    """Issues and redeems one-time tickets; each is good once, for `TICKET_TTL_S`."""

    def __init__(
        self, *, clock_ns: Callable[[], int], new_token: Callable[[], str] = random_token
    ) -> None:
        self._clock_ns = clock_ns
        self._new_token = new_token
        self._open: dict[str, tuple[Visitor, int]] = {}  # in order of expiry

    def issue(self, visitor: Visitor) -> Ticket:
        """A ticket for this visitor. When too many wait, the oldest is dropped."""
        now_ns = self._clock_ns()
        self._forget_expired(now_ns)
        while len(self._open) >= TICKETS_MAX:
            del self._open[next(iter(self._open))]
        token = self._new_token()
        self._open[token] = (visitor, now_ns + TICKET_TTL_S * 1_000_000_000)
        return Ticket(token, TICKET_TTL_S)

    def redeem(self, token: str) -> Visitor | None:
        """The visitor of a ticket, once; None if unknown, used or expired."""
        entry = self._open.pop(token, None)
        if entry is None or self._clock_ns() >= entry[1]:
            return None
        return entry[0]

    def revoke(self, visitor: Visitor) -> None:
        """Forget the visitor's unused tickets (after a logout)."""
        self._open = {t: e for t, e in self._open.items() if e[0].key != visitor.key}

    def _forget_expired(self, now_ns: int) -> None:
        while self._open:
            token = next(iter(self._open))
            if self._open[token][1] > now_ns:
                return
            del self._open[token]


class ResumeTokens:
    """Which place a resume token stands for. A token lives as long as its place."""

    def __init__(self, *, new_token: Callable[[], str] = random_token) -> None:
        self._new_token = new_token
        self._place_of: dict[str, str] = {}
        self._token_of: dict[str, str] = {}

    def token_for(self, place_id: str) -> str:
        """The place's token, made on first use.

        It stays the same over reconnects: a client that lost the socket before it read a new one
        would otherwise lose its place. It is worth nothing without a ticket of the same account.
        """
        token = self._token_of.get(place_id)
        if token is None:
            token = self._token_of[place_id] = self._new_token()
            self._place_of[token] = place_id
        return token

    def place(self, token: str) -> str | None:
        """The place behind a token, or None."""
        return self._place_of.get(token)

    def forget(self, place_id: str) -> None:
        """The place is gone, its token too."""
        token = self._token_of.pop(place_id, None)
        if token is not None:
            del self._place_of[token]
