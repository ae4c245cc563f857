"""Presence is a function of facts and time."""

import pytest

from rooms.limits import NOTICE_NS
from rooms.presence import Busy, Notice, Presence, PresenceState, Shown


def test_nobody_is_live_without_media() -> None:
    presence = Presence()
    assert presence.shown(0) == Shown(PresenceState.OFFLINE, None)
    presence.media(True)
    assert presence.shown(0) == Shown(PresenceState.LIVE_FREE, None)
    presence.media(False)
    assert presence.shown(0) == Shown(PresenceState.OFFLINE, None)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    ("busy", "when_fresh", "when_stale"),
    [
        (Busy.FREE, PresenceState.LIVE_FREE, PresenceState.OFFLINE),
        (Busy.RINGING, PresenceState.RINGING, PresenceState.OFFLINE),
        (Busy.ENTERING, PresenceState.ENTERING_PRIVATE, PresenceState.ENTERING_PRIVATE),
        (Busy.PRIVATE, PresenceState.IN_PRIVATE, PresenceState.IN_PRIVATE),
    ],
)
def test_state_table(
    busy: Busy, fresh: bool, when_fresh: PresenceState, when_stale: PresenceState
) -> None:
    presence = Presence()
    presence.media(fresh)
    presence.session(busy, 0)
    assert presence.shown(0).state is (when_fresh if fresh else when_stale)


def test_entering_is_announced_for_five_seconds_and_private_after_that() -> None:
    presence = Presence()
    presence.media(True)
    presence.session(Busy.ENTERING, 7)
    presence.session(Busy.PRIVATE, 9)
    assert presence.shown(6 + NOTICE_NS).notice is Notice.ENTERING_PRIVATE
    assert presence.next_change_ns(9) == 7 + NOTICE_NS
    assert presence.shown(7 + NOTICE_NS).notice is Notice.IN_PRIVATE
    assert presence.next_change_ns(7 + NOTICE_NS) is None


def test_going_offline_is_announced_for_five_seconds_and_is_not_live() -> None:
    presence = Presence()
    presence.media(True)
    presence.go_offline(0)
    assert presence.shown(0) == Shown(PresenceState.GOING_OFFLINE, Notice.GOING_OFFLINE)
    assert presence.next_change_ns(0) == NOTICE_NS
    assert presence.shown(NOTICE_NS) == Shown(PresenceState.OFFLINE, None)


def test_coming_back_ends_the_notice() -> None:
    presence = Presence()
    presence.media(True)
    presence.go_offline(0)
    presence.media(True)
    presence.media(False)
    assert presence.shown(1) == Shown(PresenceState.OFFLINE, None)


def test_who_was_not_live_does_not_go_offline() -> None:
    presence = Presence()
    presence.go_offline(0)
    assert presence.shown(0) == Shown(PresenceState.OFFLINE, None)
    assert presence.next_change_ns(0) is None
