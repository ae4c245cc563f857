"""The private session's state machine, as a table. It knows no media, no money and no sockets.

Law: everything that decides in which phase a session is, and why it ended, is in `TABLE`.
A cue that the table does not list for a phase changes nothing; late cues are normal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from billing_meter.tariff import Component, Tariff
from rooms.limits import CONNECT_NS, GRACE_NS, NS_PER_MS, RING_NS, SETTLE_NS


class Phase(enum.StrEnum):
    """Where a session is."""

    RINGING = "ringing"
    CONNECTING = "connecting"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDING = "ending"
    ENDED = "ended"


class EndReason(enum.StrEnum):
    """Why a session ended."""

    MEMBER_LEFT = "member_left"
    EXPERT_LEFT = "expert_left"
    BALANCE_EMPTY = "balance_empty"
    LIMIT_SESSION = "limit_session"
    LIMIT_DAY = "limit_day"
    LIMIT_WEEK = "limit_week"
    LIMIT_MONTH = "limit_month"
    ON_BREAK = "on_break"
    MEDIA_LOST = "media_lost"
    CONNECT_FAILED = "connect_failed"
    DECLINED = "declined"
    RING_TIMEOUT = "ring_timeout"
    CANCELLED = "cancelled"
    SERVER_STOPPED = "server_stopped"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    SUSPENDED = "suspended"

    def told(self, is_expert: bool) -> EndReason:
        """What this side hears: a member's limits and breaks are nobody else's business."""
        return EndReason.BALANCE_EMPTY if is_expert and self in MEMBERS_OWN else self


MEMBERS_OWN = frozenset(
    {
        EndReason.LIMIT_SESSION,
        EndReason.LIMIT_DAY,
        EndReason.LIMIT_WEEK,
        EndReason.LIMIT_MONTH,
        EndReason.ON_BREAK,
    }
)
"""Ends that a member chose beforehand. The expert hears that the money ended."""


class Cue(enum.StrEnum):
    """What can happen to a session."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    FIRST_MEDIA = "first_media"
    MEDIA_PAUSED = "media_paused"
    MEDIA_BACK = "media_back"
    TIME_OUT = "time_out"
    MEMBER_LEFT = "member_left"
    EXPERT_LEFT = "expert_left"
    BALANCE_EMPTY = "balance_empty"
    LIMIT_SESSION = "limit_session"
    LIMIT_DAY = "limit_day"
    LIMIT_WEEK = "limit_week"
    LIMIT_MONTH = "limit_month"
    ON_BREAK = "on_break"
    LEDGER_LOST = "ledger_lost"
    SERVER_STOPPED = "server_stopped"
    SUSPENDED = "suspended"
    SETTLED = "settled"


def _table() -> dict[tuple[Phase, Cue], tuple[Phase, EndReason | None]]:
    ringing, connecting, ending, ended = (
        Phase.RINGING,
        Phase.CONNECTING,
        Phase.ENDING,
        Phase.ENDED,
    )
    active, paused = Phase.ACTIVE, Phase.PAUSED
    table: dict[tuple[Phase, Cue], tuple[Phase, EndReason | None]] = {
        (ringing, Cue.ACCEPT): (connecting, None),
        (connecting, Cue.FIRST_MEDIA): (active, None),
        (active, Cue.MEDIA_PAUSED): (paused, None),
        (paused, Cue.MEDIA_BACK): (active, None),
        # Nothing was held for a ringing session, so it ends without settling.
        (ringing, Cue.DECLINE): (ended, EndReason.DECLINED),
        (ringing, Cue.CANCEL): (ended, EndReason.CANCELLED),
        (ringing, Cue.TIME_OUT): (ended, EndReason.RING_TIMEOUT),
        (ringing, Cue.MEMBER_LEFT): (ended, EndReason.CANCELLED),
        (ringing, Cue.EXPERT_LEFT): (ended, EndReason.EXPERT_LEFT),
        (ringing, Cue.SERVER_STOPPED): (ended, EndReason.SERVER_STOPPED),
        (ringing, Cue.SUSPENDED): (ended, EndReason.SUSPENDED),
        (connecting, Cue.CANCEL): (ending, EndReason.CANCELLED),
        (connecting, Cue.TIME_OUT): (ending, EndReason.CONNECT_FAILED),
        (paused, Cue.TIME_OUT): (ending, EndReason.MEDIA_LOST),
        (ending, Cue.TIME_OUT): (ended, None),
        (ending, Cue.SETTLED): (ended, None),
    }
    for phase in (connecting, active, paused):
        table |= {
            (phase, Cue.MEMBER_LEFT): (ending, EndReason.MEMBER_LEFT),
            (phase, Cue.EXPERT_LEFT): (ending, EndReason.EXPERT_LEFT),
            (phase, Cue.BALANCE_EMPTY): (ending, EndReason.BALANCE_EMPTY),
            (phase, Cue.LIMIT_SESSION): (ending, EndReason.LIMIT_SESSION),
            (phase, Cue.LIMIT_DAY): (ending, EndReason.LIMIT_DAY),
            (phase, Cue.LIMIT_WEEK): (ending, EndReason.LIMIT_WEEK),
            (phase, Cue.LIMIT_MONTH): (ending, EndReason.LIMIT_MONTH),
            (phase, Cue.ON_BREAK): (ending, EndReason.ON_BREAK),
            (phase, Cue.LEDGER_LOST): (ending, EndReason.LEDGER_UNAVAILABLE),
            (phase, Cue.SERVER_STOPPED): (ending, EndReason.SERVER_STOPPED),
            (phase, Cue.SUSPENDED): (ending, EndReason.SUSPENDED),
        }
    return table


TABLE = _table()
"""(phase, cue) → (next phase, reason if it ends here). Absent: the cue changes nothing."""

TIME_IN_PHASE_NS: dict[Phase, int] = {
    Phase.RINGING: RING_NS,
    Phase.CONNECTING: CONNECT_NS,
    Phase.PAUSED: GRACE_NS,
    Phase.ENDING: SETTLE_NS,
}
"""How long a phase may last before `Cue.TIME_OUT`; absent: as long as it likes."""

RUNNING = frozenset({Phase.CONNECTING, Phase.ACTIVE, Phase.PAUSED})
"""Phases in which the room's stream belongs to the two."""
SEALED = RUNNING | {Phase.ENDING}
"""Phases in which nobody but the two may receive the expert's stream."""
SWITCHABLE = frozenset({Phase.ACTIVE, Phase.PAUSED})
"""Phases in which the surcharges' switches work (features D5)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of phase."""

    before: Phase
    after: Phase


@dataclass(slots=True)
class PrivateSession:
    """One session from the request on. The tariff is frozen here (features D2).

    `wanted` is what the member asked for and wants on now; `on` is what is funded.
    `member_place` and `expert_place` name the connections' places that the two use.
    """

    session_id: str
    expert_id: str
    expert_name: str
    member_id: str
    member_name: str
    tariff: Tariff
    possible: frozenset[Component]
    member_place: str
    requested_ns: int
    member_rank: str = "none"
    spend_limit_units: int | None = None
    wanted: set[Component] = field(default_factory=set)
    on: set[Component] = field(default_factory=set)
    expert_place: str = ""
    phase: Phase = Phase.RINGING
    reason: EndReason | None = None
    deadline_ns: int | None = None

    def __post_init__(self) -> None:
        self.deadline_ns = self.requested_ns + TIME_IN_PHASE_NS[Phase.RINGING]

    def apply(self, cue: Cue, now_ns: int) -> Step | None:
        """Take the cue; None if it means nothing in this phase."""
        entry = TABLE.get((self.phase, cue))
        if entry is None:
            return None
        before = self.phase
        self.phase, reason = entry
        self.reason = self.reason or reason
        allowed_ns = TIME_IN_PHASE_NS.get(self.phase)
        self.deadline_ns = None if allowed_ns is None else now_ns + allowed_ns
        return Step(before, self.phase)

    def ms_left(self, phase: Phase, now_ns: int) -> int:
        """Milliseconds until this phase times out; 0 in any other phase."""
        if self.phase is not phase or self.deadline_ns is None:
            return 0
        return max(0, (self.deadline_ns - now_ns) // NS_PER_MS)

    def is_party(self, place_id: str) -> bool:
        """Whether the place belongs to the member of this session."""
        return place_id == self.member_place


def total_rate(tariff: Tariff, surcharges: frozenset[Component] | set[Component]) -> int:
    """Units per second of a session with these surcharges."""
    return tariff.rate(Component.PRIVATE) + sum(tariff.rate(c) for c in surcharges)
