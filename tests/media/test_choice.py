"""The choice of a layer: tables of single decisions, then whole stories over a narrow path."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media.choice import (
    PROBE_AGAIN_NS,
    PROBE_BPS_MAX,
    PROBE_LAST_NS,
    SETTLE_NS,
    STALL_NS,
    UP_HOLD_NS,
    VERDICT_NS,
    Choice,
    Layer,
    LayerChooser,
    Path,
)

SECOND_NS = 1_000_000_000
TICK_NS = 100_000_000
Q, H, F = (
    Layer(150_000, 320, 180, True),
    Layer(500_000, 640, 360, True),
    Layer(1_700_000, 1280, 720, True),
)
LADDER = (Q, H, F)
AUDIO_BPS = 40_000


def path(
    estimate_bps: int | None = None,
    *,
    lost: float = 0.0,
    reported_ns: int = 0,
    viewport: tuple[int, int] | None = None,
    can_probe: bool = True,
) -> Path:
    return Path(estimate_bps, lost, reported_ns, AUDIO_BPS, viewport, can_probe)


class Story:
    """A chooser that is asked ten times a second."""

    def __init__(self, ladder: tuple[Layer, ...] = LADDER, current: int | None = None) -> None:
        self.now_ns = 100 * SECOND_NS
        self.ladder = ladder
        self.chooser = LayerChooser(self.now_ns)
        self.current = len(ladder) - 1 if current is None else current
        self.layer: int | None = self.current
        self.probes: list[int] = []
        self.choice = Choice(self.layer)

    def run(
        self, seconds: float, estimate_bps: int | None, lost: float = 0.0, **known: object
    ) -> None:
        end_ns = self.now_ns + int(seconds * SECOND_NS)
        while self.now_ns < end_ns:
            self.now_ns += TICK_NS
            told = path(estimate_bps, lost=lost, reported_ns=self.now_ns, **known)
            self.choice = self.chooser.choose(self.ladder, self.layer, told, self.now_ns)
            self.layer = self.choice.layer
            if self.choice.probe_bps:
                self.probes.append(self.now_ns)


@pytest.mark.parametrize(
    ("viewport", "layer"),
    [
        (None, 2),
        ((1280, 720), 2),
        ((3840, 2160), 2),
        ((1000, 563), 2),
        ((800, 450), 1),  # 80 % of it is as good
        ((640, 360), 1),
        ((400, 225), 0),
        ((300, 900), 0),  # a tall player shows the picture between bars
        ((1, 1), 0),
    ],
)
def test_the_smallest_layer_that_fills_the_player(
    viewport: tuple[int, int] | None, layer: int
) -> None:
    assert LayerChooser(0).first(LADDER, path(viewport=viewport)) == layer
    story = Story()
    story.run(3, None, viewport=viewport)
    assert story.layer == layer


def test_sizes_that_are_not_known_do_not_bind() -> None:
    ladder = tuple(Layer(layer.bitrate_bps, 0, 0, True) for layer in LADDER)
    assert LayerChooser(0).first(ladder, path(viewport=(100, 100))) == 2


@pytest.mark.parametrize(
    ("estimate_bps", "layer"), [(None, 2), (3_000_000, 2), (1_000_000, 1), (300_000, 0), (1, 0)]
)
def test_a_new_row_begins_with_what_the_known_path_carries(
    estimate_bps: int | None, layer: int
) -> None:
    assert LayerChooser(0).first(LADDER, path(estimate_bps)) == layer


def test_nothing_flows_nothing_changes() -> None:
    still = tuple(Layer(1, 1, 1, False) for _ in range(3))
    assert LayerChooser(0).first(still, path()) is None
    assert LayerChooser(0).choose(still, 2, path(10), SECOND_NS).layer == 2
    assert LayerChooser(0).choose((), 0, path(10), SECOND_NS).layer == 0


def test_a_layer_that_vanished_is_left_at_once() -> None:
    gone = Layer(1_700_000, 1280, 720, False)
    assert LayerChooser(0).choose((Q, H, gone), 2, path(), TICK_NS).layer == 1
    assert LayerChooser(0).choose((Q, H, gone), 2, path(300_000), TICK_NS).layer == 0
    assert LayerChooser(0).choose(LADDER, -1, path(), TICK_NS).layer == 2


def test_an_estimate_far_below_leads_down_at_once_to_what_fits() -> None:
    story = Story()
    story.run(3, 3_000_000)
    story.run(0.1, 255_000)
    assert (story.layer, story.choice.limited) == (0, True)
    story = Story()
    story.run(3, None)
    story.run(0.1, 700_000)
    assert story.layer == 1


def test_a_hiccup_that_passes_leads_nowhere() -> None:
    """Any overuse makes it 85 % of what is received, which then climbs again."""
    story = Story()
    story.run(3, 3_000_000)
    estimate_bps = 1_450_000.0
    for _ in range(40):
        story.run(0.1, int(estimate_bps))
        estimate_bps *= 1.006
    assert story.layer == 2


def test_a_shortage_that_stays_leads_down() -> None:
    story = Story()
    story.run(3, 3_000_000)
    story.run(STALL_NS / SECOND_NS - 0.2, 1_450_000)
    assert story.layer == 2
    story.run(0.5, 1_450_000)
    assert story.layer == 1


def test_loss_leads_down_one_by_one_and_never_pauses_what_repairs_may_save() -> None:
    story = Story()
    story.run(2.4, None, lost=0.2)
    assert story.layer == 2  # reports spoke of the time before, then it might have passed
    story.run(0.2, None, lost=0.2)
    assert story.layer == 1
    story.run(10, None, lost=0.2)
    assert story.layer == 0


@pytest.mark.parametrize(("lost", "layer"), [(0.2, 1), (0.5, 1), (0.7, 0)])
def test_what_is_lost_says_how_far_down(lost: float, layer: int) -> None:
    """An estimate lags behind a path that became narrow at once; it still says 1 Mbit/s."""
    story = Story()
    story.run(3, 3_000_000)
    story.run(0.1, 1_000_000, lost=lost)
    assert story.layer == layer


def test_loss_that_comes_and_goes_is_no_reason() -> None:
    story = Story()
    for _ in range(20):
        story.run(1.3, None, lost=0.25)
        story.run(0.1, None, lost=0.05)
    assert story.layer == 2


def test_little_loss_is_no_reason() -> None:
    story = Story()
    story.run(30, 3_000_000, lost=0.15)
    assert story.layer == 2


def test_up_again_after_a_rest_where_the_estimate_has_room() -> None:
    story = Story()
    story.run(3, 3_000_000)
    story.run(0.1, 255_000)
    story.run(UP_HOLD_NS / SECOND_NS - 0.1, 4_000_000)
    assert story.layer == 0
    story.run(0.3, 4_000_000)
    assert story.layer == 2


def test_up_by_probes_where_the_estimate_cannot_tell() -> None:
    story = Story(current=0)
    story.run(10, None)
    assert story.layer == 2
    assert len(story.probes) == 2


@pytest.mark.parametrize("lost", [0.0, 0.08])
def test_a_camera_that_rested_is_not_taken_for_a_path_that_became_narrow(lost: float) -> None:
    """The estimate is from the rest; what is needed grew, and nothing fell."""
    for ladder in (LADDER, SINGLE):
        story = Story(ladder)
        story.run(4, 2_000_000, lost=lost)
        for share in (0, 0, 0, 0.2, 0.5, 0.8, 1, 1, 1, 1):
            story.ladder = tuple(
                Layer(int(layer.bitrate_bps * share), layer.width, layer.height, True)
                for layer in ladder
            )
            story.run(0.3, 400_000, lost=lost)
        estimate_bps = 400_000.0
        for _ in range(60):
            story.run(0.1, int(estimate_bps), lost=lost)
            assert story.layer == len(ladder) - 1
            estimate_bps *= 1.008


def test_a_pause_ends_on_a_path_that_always_loses_a_little() -> None:
    story = Story(SINGLE)
    story.run(3, 3_000_000, lost=0.06)
    story.run(2, 255_000, lost=0.06)
    assert story.layer is None
    story.run(12, 255_000, lost=0.06)
    assert story.layer == 0


def test_a_good_path_that_is_tried_for_more_is_not_called_narrow() -> None:
    story = Story(current=0)
    for _ in range(80):
        story.run(0.1, None)
        assert not story.choice.limited
    story.run(3, 100_000)
    assert story.layer == 0
    story.run(1, 100_000)
    assert story.choice.limited


def test_a_probe_that_hurts_is_not_followed_and_the_next_one_waits_longer() -> None:
    story = Story(current=0)
    for number in range(8):
        before = len(story.probes)
        while len(story.probes) == before:
            story.run(0.1, 400_000 - number * 20_000)
        story.run(2, 400_000 - (number + 1) * 20_000)
    assert story.layer == 0
    gaps = [b - a for a, b in itertools.pairwise(story.probes)]
    assert gaps[0] >= PROBE_AGAIN_NS
    assert all(b >= min(a, PROBE_LAST_NS) for a, b in itertools.pairwise(gaps))
    assert gaps[-1] <= PROBE_LAST_NS + 2 * VERDICT_NS


def test_without_a_way_to_probe_the_layer_itself_is_tried() -> None:
    story = Story(current=0)
    story.run(6, 200_000, can_probe=False)
    assert story.layer == 2
    assert not story.probes


def test_a_larger_player_gets_back_at_once_what_was_carried_before() -> None:
    story = Story()
    story.run(4, None)
    story.run(1, 160_000, viewport=(300, 170))
    assert story.layer == 0
    story.run(0.1, 160_000, viewport=(1280, 720))
    assert (story.layer, story.probes) == (2, [])
    story.run(2, 170_000)
    assert story.layer == 2  # and that old estimate does not lead down again


# --- one encoding alone -------------------------------------------------------------------------

SINGLE = (Layer(1_500_000, 1280, 720, True),)


@pytest.mark.parametrize(("estimate_bps", "lost"), [(255_000, 0.0), (None, 0.6)])
def test_one_encoding_pauses_when_it_is_hopeless(estimate_bps: int | None, lost: float) -> None:
    story = Story(SINGLE)
    story.run(3, 3_000_000)
    story.run(2.6, estimate_bps, lost=lost)
    assert story.layer is None
    assert story.choice.again


@pytest.mark.parametrize("lost", [0.05, 0.2, 0.4])
def test_loss_that_repairs_hide_does_not_pause(lost: float) -> None:
    story = Story(SINGLE)
    story.run(30, 1_350_000, lost=0.0)
    story = Story(SINGLE)
    story.run(30, None, lost=lost)
    assert story.layer == 0


def test_a_paused_picture_comes_back_with_room_or_after_a_probe() -> None:
    story = Story(SINGLE)
    story.run(3, 3_000_000)
    story.run(1, 255_000)
    story.run(UP_HOLD_NS / SECOND_NS, 2_500_000)
    assert story.layer == 0
    story = Story(SINGLE)
    story.run(3, 3_000_000)
    story.run(5, 255_000)
    assert (story.layer, len(story.probes)) == (None, 1)
    story.run(7, 255_000)  # in steps
    assert story.layer == 0


# --- whole stories ------------------------------------------------------------------------------


class Narrow:
    """A path with a queue, and a receiver that estimates as browsers do.

    On a growing queue 85 % of what arrives, else 8 % more a second up to half above what arrives
    (draft-ietf-rmcat-gcc-02 §5.5). Reports come once a second.
    """

    def __init__(self, rate_bps: int, queue_ms: int) -> None:
        self.rate_bps = rate_bps
        self.queue_ms = queue_ms
        self.queued_bits = 0.0
        self.estimate_bps: int | None = None
        self.lost_bits = self.sent_bits = 0.0
        self.audio_lost_bits = self.audio_bits = 0.0
        self.reported_ns, self.fraction_lost = 0, 0.0
        self.delivered_bps = 0.0

    def send(self, video_bps: float, now_ns: int) -> None:
        """A tenth of a second of sound and picture."""
        bits = (video_bps + AUDIO_BPS) / 10
        room = self.rate_bps * (self.queue_ms / 1_000 + 0.1) - self.queued_bits
        lost = max(bits - room, 0.0)
        queued_before = self.queued_bits
        delivered = min(self.queued_bits + bits - lost, self.rate_bps / 10)
        self.queued_bits = max(self.queued_bits + bits - lost - delivered, 0.0)
        self.lost_bits, self.sent_bits = self.lost_bits + lost, self.sent_bits + bits
        self.audio_lost_bits += lost / bits * AUDIO_BPS / 10
        self.audio_bits += AUDIO_BPS / 10
        self.delivered_bps += 0.3 * (delivered * 10 - self.delivered_bps)
        growing = self.queued_bits > queued_before + self.rate_bps * 0.01
        if growing or lost:
            fallen = int(0.85 * self.delivered_bps)
            self.estimate_bps = min(self.estimate_bps or fallen, fallen)
        elif self.estimate_bps is not None and self.queued_bits == 0:
            most = int(1.5 * self.delivered_bps + 10_000)
            if self.estimate_bps < most:
                self.estimate_bps = min(int(self.estimate_bps * 1.008), most)
        if now_ns - self.reported_ns >= SECOND_NS:
            self.fraction_lost = self.lost_bits / self.sent_bits
            self.lost_bits = self.sent_bits = 0.0
            self.reported_ns = now_ns


class Life(Story):
    """The chooser, its viewer and the path between, tick by tick."""

    def __init__(self, ladder: tuple[Layer, ...], link: Narrow, seed: int) -> None:
        super().__init__(ladder)
        self.link = link
        self.chance = random.Random(seed)
        self.probe_until_ns = self.probe_bps = 0
        self.shown: list[int | None] = []

    def live(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.now_ns += TICK_NS
            link = self.link
            video_bps = 0.0
            if self.layer is not None:
                rough = self.chance.uniform(0.85, 1.15)
                video_bps = self.ladder[self.layer].bitrate_bps * rough
            if self.choice.probe_bps:
                self.probe_until_ns, self.probe_bps = (
                    self.now_ns + 200_000_000,
                    self.choice.probe_bps,
                )
            if self.now_ns <= self.probe_until_ns:
                video_bps += self.probe_bps
            link.send(video_bps, self.now_ns)
            told = Path(
                link.estimate_bps, link.fraction_lost, link.reported_ns, AUDIO_BPS, None, True
            )
            self.choice = self.chooser.choose(self.ladder, self.layer, told, self.now_ns)
            self.layer = self.choice.layer
            self.shown.append(self.layer)


@pytest.mark.parametrize("queue_ms", [20, 100, 400, 1_000])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ladder", [LADDER, SINGLE])
def test_a_viewer_capped_at_300_kbits_steps_down_in_three_seconds_and_keeps_its_sound(
    ladder: tuple[Layer, ...], queue_ms: int, seed: int
) -> None:
    print("seed", seed)
    link = Narrow(10_000_000, queue_ms)
    life = Life(ladder, link, seed)
    life.live(10)
    assert life.layer == len(ladder) - 1
    link.rate_bps = 300_000
    life.live(3)
    assert life.layer == (0 if len(ladder) > 1 else None)
    link.audio_lost_bits = link.audio_bits = 0.0
    life.live(60)
    assert link.audio_lost_bits / link.audio_bits < 0.01
    wide = sum(layer not in (0, None) for layer in life.shown[-600:]) if len(ladder) > 1 else 0
    assert wide / 600 < 0.05
    link.rate_bps = 10_000_000
    life.live(2 * PROBE_LAST_NS / SECOND_NS)
    assert life.layer == len(ladder) - 1, "the path is wide again"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate_bps", [800_000, 1_200_000, 1_600_000])
def test_a_path_for_the_middle_layer_gets_it_and_mostly_keeps_it(seed: int, rate_bps: int) -> None:
    print("seed", seed)
    life = Life(LADDER, Narrow(rate_bps, 200), seed)
    life.live(120)
    late = life.shown[600:]
    assert sum(layer == 1 for layer in late) / len(late) > 0.85
    changes = sum(a != b for a, b in itertools.pairwise(late))
    assert changes <= 8


ANY_LAYER = st.builds(
    Layer, st.integers(0, 10**7), st.integers(0, 4_000), st.integers(0, 4_000), st.booleans()
)
ANY_PATH = st.builds(
    Path,
    st.none() | st.integers(0, 2**40),
    st.floats(0, 1),
    st.integers(0, 10**11),
    st.integers(0, 10**6),
    st.none() | st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)),
    st.booleans(),
)
ANY_STEP = st.tuples(st.integers(0, 5 * SECOND_NS), st.lists(ANY_LAYER, max_size=4), ANY_PATH)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(ANY_STEP, max_size=20))
def test_whatever_is_told_the_choice_is_one_of_what_there_is(
    steps: list[tuple[int, list[Layer], Path]],
) -> None:
    chooser, now_ns = LayerChooser(0), 0
    current: int | None = 0
    probes: list[int] = []
    for passed_ns, ladder, told in steps:
        now_ns += passed_ns
        before = current if current is None or current < len(ladder) else -1
        choice = chooser.choose(ladder, before, told, now_ns)
        assert choice.layer in (None, before, *range(len(ladder)))
        assert 0 <= choice.probe_bps <= PROBE_BPS_MAX
        if choice.layer is not None and choice.layer != before:
            assert ladder[choice.layer].flowing
        if choice.probe_bps:
            probes.append(now_ns)
        current = choice.layer
    assert all(b - a >= SETTLE_NS for a, b in itertools.pairwise(probes))


def test_a_falling_estimate_is_not_believed_to_the_last_bit() -> None:
    """The first one after a cap still counts half a second of the time before."""
    story = Story()
    story.run(3, 3_000_000)
    story.run(0.1, 600_000)  # the middle layer needs 565
    assert story.layer == 0
