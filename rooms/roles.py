"""Who a visitor is and what each kind of visitor may do; the server's word, never the client's."""

import enum
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "nb"]


class VisitorKind(enum.StrEnum):
    """How a visitor is known: not at all, by a member account, by an expert account."""

    GUEST = "guest"
    MEMBER = "member"
    EXPERT = "expert"


class Role(enum.StrEnum):
    """What a visitor is in one room. An expert is `EXPERT` only in their own."""

    GUEST = "guest"
    MEMBER = "member"
    EXPERT = "expert"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Visitor:
    """An authenticated identity. `account_id` of a guest is its anonymous token's id."""

    kind: VisitorKind
    account_id: str
    name: str
    language: Language = "en"

    @property
    def key(self) -> tuple[VisitorKind, str]:
        """Names the person across connections."""
        return (self.kind, self.account_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account has earned: premium or not, and the Reward Club rank shown in chat.

    `extras_until_ms` is when the extras of `rooms.rights` are locked (UTC); None: never.
    """

    premium: bool = False
    rank: str = "none"
    extras_until_ms: int | None = None


def role_of(visitor: Visitor, *, hosting: bool) -> Role:
    """The visitor's role in one room."""
    if hosting:
        return Role.EXPERT
    return Role.GUEST if visitor.kind is VisitorKind.GUEST else Role.MEMBER


def may_type(role: Role) -> bool:
    """Guests choose from a list; members and the expert type (features A3, A4, C1)."""
    return role in (Role.MEMBER, Role.EXPERT)


def may_buy_time(visitor: Visitor, standing: Standing) -> bool:
    """Private sessions are for premium members (features A5)."""
    return visitor.kind is VisitorKind.MEMBER and standing.premium
