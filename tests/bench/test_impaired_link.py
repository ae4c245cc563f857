"""The impaired link does what it says, and the same again from the same seed."""

from itertools import groupby

from bench.impaired_link import CLEAN, MS_NS, UDP_IP_OCTETS, ImpairedLink, Impairment

SEED = 20_261_126
START_NS = 5_000 * MS_NS
SIZE = 1_000


def run(impairment: Impairment, packets: int = 2_000, every_ms: int = 4) -> list[tuple[int, ...]]:
    """Delays in ns of every copy of every datagram."""
    link = ImpairedLink(SEED, impairment)
    found = []
    for n in range(packets):
        now_ns = START_NS + n * every_ms * MS_NS
        found.append(tuple(due - now_ns for due in link.due(SIZE, now_ns)))
    return found


def test_a_clean_link_is_none() -> None:
    assert run(CLEAN) == [(0,)] * 2_000


def test_the_same_seed_gives_the_same_network() -> None:
    bad = Impairment(loss_percent=10, duplicate_percent=5, reorder_percent=5, jitter_ms=30)
    assert run(bad) == run(bad)
    other = ImpairedLink(SEED + 1, bad)
    again = ImpairedLink(SEED, bad)
    times = [START_NS + n * MS_NS for n in range(200)]
    assert [other.due(SIZE, t) for t in times] != [again.due(SIZE, t) for t in times]


def test_loss_hits_its_share_and_only_that() -> None:
    found = run(Impairment(loss_percent=20))
    assert 0.18 < sum(not copies for copies in found) / len(found) < 0.22
    assert {copies for copies in found} == {(), (0,)}


def test_bursts_lose_the_same_share_in_runs() -> None:
    lost = [not copies for copies in run(Impairment(loss_percent=5, burst=5), packets=40_000)]
    assert 0.045 < sum(lost) / len(lost) < 0.055
    runs = [len(list(same)) for gone, same in groupby(lost) if gone]
    assert 4.5 < sum(runs) / len(runs) < 5.5


def test_a_delay_does_not_change_what_is_lost() -> None:
    lost = [not copies for copies in run(Impairment(loss_percent=20))]
    assert [not c for c in run(Impairment(loss_percent=20, delay_ms=40, jitter_ms=9))] == lost


def test_duplicates_come_twice() -> None:
    found = run(Impairment(duplicate_percent=5, delay_ms=7))
    assert 0.03 < sum(len(copies) == 2 for copies in found) / len(found) < 0.07
    assert {due for copies in found for due in copies} == {7 * MS_NS}


def test_jitter_keeps_the_order() -> None:
    link = ImpairedLink(SEED, Impairment(delay_ms=20, jitter_ms=30))
    last_ns = 0
    delays = []
    for n in range(1_000):
        now_ns = START_NS + n * MS_NS
        (due_ns,) = link.due(SIZE, now_ns)
        assert due_ns >= last_ns
        last_ns = due_ns
        delays.append(due_ns - now_ns)
    assert 20 * MS_NS <= min(delays) < 25 * MS_NS
    assert 45 * MS_NS < max(delays) <= 50 * MS_NS


def test_the_reordered_are_overtaken() -> None:
    link = ImpairedLink(SEED, Impairment(reorder_percent=10, reorder_ms=30))
    dues = [link.due(SIZE, START_NS + n * 4 * MS_NS)[0] for n in range(1_000)]
    overtaken = sum(dues[n] > dues[n + 1] for n in range(999))
    assert 60 < overtaken < 140


def test_a_bottleneck_passes_its_rate_and_its_queue_is_bounded() -> None:
    """2 Mbit/s into 300 kbit/s: what comes out is 300 kbit/s, at most a queue late."""
    found = run(Impairment(rate_bps=300_000, queue_ms=200), packets=2_500)  # 10 s
    delivered_octets = sum(len(copies) for copies in found) * (SIZE + UDP_IP_OCTETS)
    assert 290_000 < delivered_octets * 8 / 10 < 312_000
    longest_ns = max(due for copies in found for due in copies)
    packet_ns = (SIZE + UDP_IP_OCTETS) * 8 * 1_000_000_000 // 300_000
    assert 200 * MS_NS < longest_ns <= 200 * MS_NS + packet_ns


def test_a_cut_passes_nothing_and_heals() -> None:
    link = ImpairedLink(SEED)
    link.impairment = Impairment(cut=True)
    assert all(link.due(SIZE, START_NS + n) == () for n in range(100))
    assert link.passed.lost == 100
    link.impairment = CLEAN
    assert link.due(SIZE, START_NS + 100) == (START_NS + 100,)
