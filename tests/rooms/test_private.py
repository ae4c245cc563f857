"""The private session's table, row by row, and what holds for every path through it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_meter.tariff import Component, Tariff
from rooms.private import (
    SEALED,
    TABLE,
    TIME_IN_PHASE_NS,
    Cue,
    EndReason,
    Phase,
    PrivateSession,
    total_rate,
)

NS = 1_000_000_000


def session() -> PrivateSession:
    return PrivateSession(
        session_id="s",
        expert_id="luna",
        expert_name="luna",
        member_id="mia",
        member_name="mia",
        tariff=Tariff(299, 100, 50),
        possible=frozenset(),
        member_place="p",
        requested_ns=0,
    )


HAPPY = [
    (Cue.ACCEPT, Phase.CONNECTING),
    (Cue.FIRST_MEDIA, Phase.ACTIVE),
    (Cue.MEDIA_PAUSED, Phase.PAUSED),
    (Cue.MEDIA_BACK, Phase.ACTIVE),
    (Cue.MEMBER_LEFT, Phase.ENDING),
    (Cue.SETTLED, Phase.ENDED),
]


def test_the_happy_path() -> None:
    s = session()
    for cue, phase in HAPPY:
        step = s.apply(cue, 0)
        assert step is not None
        assert s.phase is phase
    assert s.reason is EndReason.MEMBER_LEFT


ENDINGS = [
    ([], Cue.DECLINE, Phase.ENDED, EndReason.DECLINED),
    ([], Cue.CANCEL, Phase.ENDED, EndReason.CANCELLED),
    ([], Cue.TIME_OUT, Phase.ENDED, EndReason.RING_TIMEOUT),
    ([], Cue.MEMBER_LEFT, Phase.ENDED, EndReason.CANCELLED),
    ([], Cue.EXPERT_LEFT, Phase.ENDED, EndReason.EXPERT_LEFT),
    ([], Cue.SERVER_STOPPED, Phase.ENDED, EndReason.SERVER_STOPPED),
    ([Cue.ACCEPT], Cue.CANCEL, Phase.ENDING, EndReason.CANCELLED),
    ([Cue.ACCEPT], Cue.TIME_OUT, Phase.ENDING, EndReason.CONNECT_FAILED),
    ([Cue.ACCEPT], Cue.BALANCE_EMPTY, Phase.ENDING, EndReason.BALANCE_EMPTY),
    ([Cue.ACCEPT], Cue.LEDGER_LOST, Phase.ENDING, EndReason.LEDGER_UNAVAILABLE),
    ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.EXPERT_LEFT, Phase.ENDING, EndReason.EXPERT_LEFT),
    ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.LIMIT_DAY, Phase.ENDING, EndReason.LIMIT_DAY),
    ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.SUSPENDED, Phase.ENDING, EndReason.SUSPENDED),
    (
        [Cue.ACCEPT, Cue.FIRST_MEDIA, Cue.MEDIA_PAUSED],
        Cue.TIME_OUT,
        Phase.ENDING,
        EndReason.MEDIA_LOST,
    ),
]


@pytest.mark.parametrize(("before", "cue", "phase", "reason"), ENDINGS)
def test_endings(before: list[Cue], cue: Cue, phase: Phase, reason: EndReason) -> None:
    s = session()
    for earlier in before:
        assert s.apply(earlier, 0) is not None
    assert s.apply(cue, 0) is not None
    assert (s.phase, s.reason) == (phase, reason)


@pytest.mark.parametrize(
    ("before", "cue"),
    [
        ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.CANCEL),  # it is running: leave it instead
        ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.DECLINE),
        ([Cue.ACCEPT, Cue.FIRST_MEDIA], Cue.TIME_OUT),
        ([Cue.ACCEPT], Cue.MEDIA_PAUSED),
        ([Cue.ACCEPT], Cue.ACCEPT),
        ([], Cue.FIRST_MEDIA),
        ([], Cue.BALANCE_EMPTY),
    ],
)
def test_cues_that_mean_nothing(before: list[Cue], cue: Cue) -> None:
    s = session()
    for earlier in before:
        s.apply(earlier, 0)
    phase, deadline_ns = s.phase, s.deadline_ns
    assert s.apply(cue, 99) is None
    assert (s.phase, s.deadline_ns, s.reason) == (phase, deadline_ns, None)


def test_deadlines_follow_the_phase() -> None:
    s = session()
    assert s.deadline_ns == 30 * NS
    s.apply(Cue.ACCEPT, 5 * NS)
    assert s.deadline_ns == 20 * NS
    s.apply(Cue.FIRST_MEDIA, 6 * NS)
    assert s.deadline_ns is None
    s.apply(Cue.MEDIA_PAUSED, 10 * NS)
    assert s.deadline_ns == 40 * NS
    assert s.ms_left(Phase.PAUSED, 15 * NS) == 25_000
    assert s.ms_left(Phase.RINGING, 15 * NS) == 0
    s.apply(Cue.MEDIA_BACK, 11 * NS)
    assert s.deadline_ns is None


def test_nothing_leaves_ended_and_every_time_limit_leads_somewhere() -> None:
    assert not [key for key in TABLE if key[0] is Phase.ENDED]
    for phase in TIME_IN_PHASE_NS:
        assert (phase, Cue.TIME_OUT) in TABLE


@given(st.lists(st.sampled_from(list(Cue)), max_size=30))
def test_any_path_ends_at_most_once_with_one_reason(cues: list[Cue]) -> None:
    s, reasons, ended = session(), [], 0
    for cue in cues:
        step = s.apply(cue, 0)
        if step is not None and step.after is Phase.ENDED:
            ended += 1
        if s.reason is not None:
            reasons.append(s.reason)
        if s.phase in (Phase.ENDING, Phase.ENDED):
            assert s.reason is not None
    assert ended <= 1
    assert len(set(reasons)) <= 1


@given(st.lists(st.sampled_from(list(Cue)), max_size=30))
def test_a_sealed_session_was_accepted(cues: list[Cue]) -> None:
    s, accepted = session(), False
    for cue in cues:
        step = s.apply(cue, 0)
        accepted = accepted or (step is not None and cue is Cue.ACCEPT)
        assert s.phase not in SEALED or accepted


def test_total_rate() -> None:
    tariff = Tariff(299, 100, 50)
    assert total_rate(tariff, frozenset()) == 299
    assert total_rate(tariff, {Component.CAM2CAM, Component.TWO_WAY_AUDIO}) == 449
