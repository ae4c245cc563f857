"""When the process says that it has no room for another viewer, and when it has room again."""

from dataclasses import dataclass, field

import pytest

from media.api import BusyReason
from media.overload import CLEAR_WINDOWS, DROPPED_MIN, WINDOW_NS, Overload, Totals

MS = 1_000_000


@dataclass
class Process:
    """A process whose figures a test sets, window by window."""

    peers: int = 0
    now_ns: int = 5 * WINDOW_NS
    sums: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("worked_ns", "sent", "send_dropped", "received", "receive_dropped"), 0
        )
    )

    def __post_init__(self) -> None:
        self.overload = Overload(Totals(**self.sums), peers_max=1_000, now_ns=self.now_ns)
        self.changes: list[BusyReason | None] = []

    def window(
        self, *, cpu: float = 0.3, lags_ms: tuple[int, ...] = (1,) * 50, **more: int
    ) -> BusyReason | None:
        """One second passes with these figures; what the process then says."""
        for lag_ms in lags_ms:
            self.overload.late(lag_ms * MS)
        self.now_ns += WINDOW_NS
        self.sums["worked_ns"] += int(cpu * WINDOW_NS)
        for name, number in more.items():
            self.sums[name] += number
        assert self.overload.due(self.now_ns)
        if self.overload.judge(Totals(**self.sums), self.peers, self.now_ns):
            self.changes.append(self.overload.load.busy)
        return self.overload.load.busy


def test_a_quiet_process_has_room_and_knows_its_figures() -> None:
    process = Process(peers=100)
    assert process.window(cpu=0.5, lags_ms=(0, 2), sent=10_000, received=200) is None
    load = process.overload.load
    assert load.worked_share == pytest.approx(0.5)
    assert load.lag_ns == 1 * MS
    assert load.dropped_share == 0.0
    assert load.peers_share == pytest.approx(0.1)
    assert not process.overload.due(process.now_ns + WINDOW_NS - 1)


def test_a_core_in_use_for_three_windows_means_busy_and_two_do_not() -> None:
    process = Process()
    for _ in range(2):
        assert process.window(cpu=0.9) is None
    assert process.window(cpu=0.5) is None
    for _ in range(2):
        assert process.window(cpu=0.9) is None
    assert process.window(cpu=0.85) is BusyReason.CPU
    assert process.changes == [BusyReason.CPU]


def test_a_late_timer_means_busy_and_one_long_stall_does_not() -> None:
    process = Process()
    assert process.window(lags_ms=(5_000,)) is None  # a collection of garbage, a slow disk
    for _ in range(10):
        assert process.window(lags_ms=(59,) * 13) is None
    for _ in range(2):
        assert process.window(lags_ms=(40, 80)) is None
    assert process.window(lags_ms=(60,) * 12) is BusyReason.LAG


@pytest.mark.parametrize(
    ("passed", "dropped"), [("sent", "send_dropped"), ("received", "receive_dropped")]
)
def test_a_full_buffer_means_busy_at_once_and_a_single_burst_does_not(
    passed: str, dropped: str
) -> None:
    process = Process()
    assert process.window(**{passed: 1_000, dropped: DROPPED_MIN - 1}) is None
    assert process.window(**{passed: 100_000, dropped: 99}) is None
    assert process.window(**{passed: 100_000, dropped: 101}) is BusyReason.DROPS


def test_the_last_places_are_kept_for_those_who_come_back() -> None:
    process = Process(peers=949)
    assert process.window() is None
    process.peers = 950
    assert process.window() is BusyReason.PEERS
    process.peers = 900
    for _ in range(2 * CLEAR_WINDOWS):
        assert process.window() is BusyReason.PEERS
    process.peers = 899
    for _ in range(CLEAR_WINDOWS - 1):
        assert process.window() is BusyReason.PEERS
    assert process.window() is None


def test_busy_ends_after_quiet_windows_in_a_row_and_does_not_flutter() -> None:
    process = Process()
    for _ in range(3):
        process.window(cpu=0.95)
    for _ in range(20):  # between the marks: neither
        assert process.window(cpu=0.8) is BusyReason.CPU
    for _ in range(CLEAR_WINDOWS - 1):
        assert process.window(cpu=0.1) is BusyReason.CPU
    assert process.window(cpu=0.75) is BusyReason.CPU  # the count begins anew
    for _ in range(CLEAR_WINDOWS - 1):
        assert process.window(cpu=0.1) is BusyReason.CPU
    assert process.window(cpu=0.1) is None
    assert process.changes == [BusyReason.CPU, None]


def test_one_reason_keeps_it_busy_after_another_is_over() -> None:
    process = Process()
    assert process.window(sent=1_000, send_dropped=500) is BusyReason.DROPS
    for _ in range(3):
        said = process.window(cpu=0.99)
    assert said is BusyReason.CPU
    assert process.changes == [BusyReason.DROPS]


def test_a_timer_that_is_early_counts_as_in_time() -> None:
    process = Process()
    process.window(lags_ms=(-10_000, 10))
    assert process.overload.load.lag_ns == 5 * MS


def test_no_peer_may_ever_be_is_full() -> None:
    overload = Overload(Totals(0, 0, 0, 0, 0), peers_max=0, now_ns=0)
    assert overload.judge(Totals(0, 0, 0, 0, 0), 0, WINDOW_NS)
    assert overload.load.busy is BusyReason.PEERS
