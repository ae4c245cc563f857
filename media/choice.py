"""Which layer a viewer gets, or none: by its estimate, its losses and its player's size. Pure.

Down at once when the path does not carry what is sent: sound comes first, and what is queued in
front of a bottleneck is late for everybody behind it. Up with care: where the estimate has room
for it, or after a short probe (padding, no picture) that the path took without complaint. A
receiver's estimate grows no further than half above what it receives, so that it alone never says
that a much larger layer would fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

MARGIN_PERCENT: Final = 105
"""A layer's need above its measured average."""
HEADROOM_PERCENT: Final = 120
"""An estimate this far above the need is room for it without a probe."""
ENOUGH_PERCENT: Final = 95
"""Down to this share of the need an estimate is no complaint."""
SHORT_PERCENT: Final = 70
"""Below this share a layer is too much at once. Any hiccup makes a receiver's estimate 85 % of what
it gets (draft-ietf-rmcat-gcc-02 §5.5), which alone is no reason to do anything."""
SHORT_PAUSE_PERCENT: Final = 60
"""The same where there is no smaller layer: a frozen picture is worse than a smaller one."""
SHORT_PROBED_PERCENT: Final = 50
"""The same while a probe, which makes the figures worse, awaits its verdict."""
HOPELESS_PERCENT: Final = 40
"""Below this share, and not climbing, an only encoding is too much though no estimate fell."""
GROWN_PERCENT: Final = 150
"""A stream that needs so much more than a moment ago has just begun; estimates follow slowly."""
CLIMB_PERCENT: Final = 103
FALL_PERCENT: Final = 97
STALL_NS: Final = 2_500_000_000
"""An estimate that is short recovers within this by more than 3 %, or the path is full."""
PAUSE_NS: Final = 800_000_000
"""How long a shortage lasts before the picture stops altogether."""
SETTLE_NS: Final = 1_000_000_000
"""After a start or a change the next reports still speak of the time before."""
PROVEN_NS: Final = 2_000_000_000
"""What a path carried without complaint for this long, it is trusted with again."""
LOSS_DOWN: Final = 0.20
"""What a path loses because it is full. (Congestion control that adds up loss draws the line at
10 %; but 5 % on each of the two ways look like that to the viewer, and repairs hide them.)"""
LOSS_NS: Final = 1_500_000_000
"""How long it has to stay so: reports of few packets say a lot now and then."""
LOSS_PAUSE: Final = 0.50
"""Loss that no repair hides: the picture is gone anyway, and takes the sound with it."""
LOSS_REPAIRED: Final = 0.05
"""Repairs hide this much, so that an estimate with room may be believed."""
LOSS_PROBED: Final = 0.10
"""A path that loses more by itself is not tried for more. What a probe adds, it answers for."""
UP_HOLD_NS: Final = 2_000_000_000
"""Rest after a step down, however good the figures look at once."""
PROBE_FIRST_NS: Final = 1_500_000_000
"""Before the first probe of a path of which nothing bad is known."""
PROBE_AGAIN_NS: Final = 4_000_000_000
PROBE_LAST_NS: Final = 60_000_000_000
"""After a step down; doubled after each probe that failed, or whose step up did not last."""
PROBE_NS: Final = 200_000_000
"""A probe's length: long enough to fill the queue of a path that is too narrow for it."""
PROBE_BPS_MAX: Final = 4_000_000
"""100 kB per probe."""
VERDICT_NS: Final = 1_500_000_000
"""Until the reports that follow a probe were in."""
TRIAL_NS: Final = 10_000_000_000
"""A step up that fails within this was one too many."""
COVERS_PERCENT: Final = 80
"""A layer with this share of the player's pixels in one direction looks no worse than the next."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoding as it was measured last; 0 for a size that is not known."""

    bitrate_bps: int
    width: int
    height: int
    flowing: bool


class Path(NamedTuple):
    """What is known of the way to a viewer. `viewport` is its player's size in device pixels.

    `fraction_lost` is that of the last report, `reported_ns` when that came.
    """

    estimate_bps: int | None
    fraction_lost: float
    reported_ns: int
    audio_bps: int
    viewport: tuple[int, int] | None
    can_probe: bool


class Choice(NamedTuple):
    """What to send: a layer's place in the ladder, None for no picture.

    `probe_bps` is what to send on top for `PROBE_NS`, `again` asks for another look soon, and
    `limited` says that the path, not the player, stands in the way of more.
    """

    layer: int | None
    probe_bps: int = 0
    again: bool = False
    limited: bool = False


class LayerChooser:
    """The choice for one viewer over time; `ladder` is sorted, the smallest layer first."""

    __slots__ = (
        "_ample",
        "_changed_ns",
        "_enough_bps",
        "_ladder",
        "_last_need_bps",
        "_lossy_ns",
        "_lowered_ns",
        "_mark",
        "_next_probe_ns",
        "_path",
        "_probe_loss",
        "_probe_wait_ns",
        "_probed",
        "_probing_bps",
        "_proven_bps",
        "_raised_ns",
        "_settling_ns",
        "_short_ns",
        "_stage_bps",
        "_usual_loss",
    )

    def __init__(self, now_ns: int) -> None:
        self._lowered_ns = now_ns - UP_HOLD_NS  # the last step down for want of room
        self._raised_ns: int | None = None  # the last step up
        self._proven_bps = 0  # what the path carried well
        self._probe_wait_ns = PROBE_FIRST_NS
        self._ladder: Sequence[Layer] = ()
        self._path = Path(None, 0.0, 0, 0, None, False)
        self._changed_ns = self._settling_ns = now_ns  # reports from before do not count
        self._ample = False  # an estimate was seen that is enough for what is sent now
        self._enough_bps: int | None = None  # which one
        self._last_need_bps = 0
        self._mark: tuple[int, int] | None = None  # a short estimate, and when it was that
        self._lossy_ns: int | None = None  # since when reports tell of much loss
        self._short_ns: int | None = None  # since when the path complains
        self._probed: tuple[int, int | None] | None = None  # a probe's time, the estimate then
        self._probing_bps = self._stage_bps = 0  # what it tries in all, what one before it did
        self._probe_loss = 0.0  # the worst that was reported since
        self._usual_loss = 0.0  # before it
        self._next_probe_ns = now_ns + self._probe_wait_ns

    def restart(self, now_ns: int) -> None:
        """Another source comes over the same path: what is known of that stays."""
        self._note_change(now_ns)

    def first(self, ladder: Sequence[Layer], path: Path) -> int | None:
        """The layer to begin with, None when none flows."""
        self._ladder, self._path = ladder, path
        flowing = [place for place, layer in enumerate(ladder) if layer.flowing]
        return self._best(flowing, self._top(flowing)) if flowing else None

    def strained(self, now_ns: int) -> bool:
        """True while the path seems too narrow for what is sent."""
        stalled = self._mark is not None and now_ns - self._mark[1] >= SETTLE_NS
        return stalled or self._short_ns is not None

    def choose(
        self, ladder: Sequence[Layer], current: int | None, path: Path, now_ns: int
    ) -> Choice:
        """The layer from now on; `current` is the one that is sent, None while paused."""
        self._ladder, self._path = ladder, path
        flowing = [place for place, layer in enumerate(ladder) if layer.flowing]
        if not flowing:
            return Choice(current)
        top = self._top(flowing) if len(flowing) > 1 else flowing[0]
        if current is None:
            choice = self._upward(None, flowing[:1], now_ns)
            return Choice(choice.layer, choice.probe_bps, True, choice.layer is None)
        if current not in flowing:
            self._note_change(now_ns)
            return Choice(self._best(flowing, top))
        if current > top:
            self._note_change(now_ns)
            return Choice(top)
        lower = [place for place in flowing if place < current]
        if self._overtaxed(current, not lower, now_ns):
            # An estimate that falls is on its way: what it says last is lower still.
            target = self._carried(current, lower, top) if lower else None
            self._step_down(target, now_ns)
            return Choice(target, again=target is None, limited=True)
        higher = [place for place in flowing if current < place <= top]
        if higher:
            return self._upward(current, higher, now_ns)
        self._probed = None
        if now_ns - self._changed_ns >= TRIAL_NS:
            self._probe_wait_ns = PROBE_FIRST_NS
        return Choice(current, again=self._watched)

    @property
    def _suspect(self) -> bool:
        """True for a path that was too narrow before."""
        return self._probe_wait_ns > PROBE_FIRST_NS

    @property
    def _watched(self) -> bool:
        """True while something goes on that a moment decides."""
        return self._short_ns is not None or self._lossy_ns is not None

    # --- what fits -----------------------------------------------------------------------

    def _need_bps(self, place: int) -> int:
        return self._path.audio_bps + self._ladder[place].bitrate_bps * MARGIN_PERCENT // 100

    def _fits(self, place: int, percent: int) -> bool:
        estimate_bps = self._path.estimate_bps
        return estimate_bps is None or estimate_bps * 100 >= self._need_bps(place) * percent

    def _top(self, flowing: list[int]) -> int:
        """The smallest layer that the player can make no better use of."""
        viewport = self._path.viewport
        if viewport is None:
            return flowing[-1]
        for place in flowing:
            layer = self._ladder[place]
            wide = layer.width * 100 >= viewport[0] * COVERS_PERCENT
            high = layer.height * 100 >= viewport[1] * COVERS_PERCENT
            if layer.width and (wide or high):
                return place
        return flowing[-1]

    def _best(self, places: list[int], top: int, percent: int = 100) -> int:
        """The best of these that fits, at least the smallest."""
        fitting = [place for place in places if place <= top and self._fits(place, percent)]
        return fitting[-1] if fitting else places[0]

    def _carried(self, current: int, lower: list[int], top: int) -> int:
        """The best below `current` that the path takes, by its estimate and by what it loses.

        A path that drops half of what is sent carries half of it, whatever the estimate still says;
        a step too short loses sound for another second.
        """
        carried_bps = self._need_bps(current) * (1.0 - self._path.fraction_lost)
        if self._path.fraction_lost >= LOSS_DOWN:
            need = [self._need_bps(place) * HEADROOM_PERCENT // 100 for place in lower]
            lower = [p for p, bps in zip(lower, need, strict=True) if bps <= carried_bps] or lower[
                :1
            ]
        return self._best(lower, top, HEADROOM_PERCENT)

    # --- down ----------------------------------------------------------------------------

    def _overtaxed(self, current: int, alone: bool, now_ns: int) -> bool:
        """True when the path does not carry what is sent."""
        need_bps = self._need_bps(current)
        if need_bps * 100 > self._last_need_bps * GROWN_PERCENT and self._probed is None:
            self._settle(now_ns)
        self._last_need_bps = need_bps
        if now_ns - self._settling_ns < SETTLE_NS:
            return False
        if self._probed is not None and self._fits(current, SHORT_PROBED_PERCENT):
            return False  # what is wrong now may well be the probe
        if not self._complains(current, alone, now_ns):
            self._short_ns = None
            proven = now_ns - self._changed_ns >= PROVEN_NS
            if proven and self._path.fraction_lost < LOSS_REPAIRED:
                self._proven_bps = max(self._proven_bps, self._need_bps(current))
            return False
        if self._short_ns is None:
            self._short_ns = now_ns
        return not alone or now_ns - self._short_ns >= PAUSE_NS

    def _complains(self, current: int, alone: bool, now_ns: int) -> bool:
        path = self._path
        fresh = path.reported_ns - self._settling_ns >= SETTLE_NS
        if not fresh or path.fraction_lost < (LOSS_PAUSE if alone else LOSS_DOWN):
            self._lossy_ns = None
        elif self._lossy_ns is None:
            self._lossy_ns = now_ns
        elif now_ns - self._lossy_ns >= LOSS_NS:
            return True
        estimate_bps = path.estimate_bps
        if estimate_bps is None or self._fits(current, ENOUGH_PERCENT):
            self._ample, self._enough_bps, self._mark = True, estimate_bps, None
            return False
        far = not self._fits(current, SHORT_PAUSE_PERCENT if alone else SHORT_PERCENT)
        if far and self._ample and _fell(estimate_bps, self._enough_bps):
            return True
        # An estimate from before a step up is short for a while, but it climbs.
        if self._mark is None or estimate_bps * 100 > self._mark[0] * CLIMB_PERCENT:
            self._mark = (estimate_bps, now_ns)
        elif far and not alone and _fell(estimate_bps, self._mark[0]):
            return True
        stalled_ns = now_ns - self._mark[1]
        if alone:  # a frozen picture is worse than a doubt
            return stalled_ns >= 2 * STALL_NS and not self._fits(current, HOPELESS_PERCENT)
        return stalled_ns >= STALL_NS

    def _step_down(self, target: int | None, now_ns: int) -> None:
        if self._raised_ns is not None and now_ns - self._raised_ns < TRIAL_NS:
            self._wait_longer()
        else:
            self._probe_wait_ns = PROBE_AGAIN_NS
        self._raised_ns, self._lowered_ns = None, now_ns
        self._proven_bps = 0 if target is None else min(self._proven_bps, self._need_bps(target))
        self._note_change(now_ns)

    def _wait_longer(self) -> None:
        wait_ns = max(self._probe_wait_ns * 2, PROBE_AGAIN_NS)
        self._probe_wait_ns = min(wait_ns, PROBE_LAST_NS)

    def _note_change(self, now_ns: int) -> None:
        self._changed_ns = now_ns
        self._next_probe_ns = now_ns + self._probe_wait_ns
        self._stage_bps = 0
        self._settle(now_ns)

    def _settle(self, now_ns: int) -> None:
        """What comes of the time before this says nothing of the layer that is sent."""
        self._settling_ns = now_ns
        self._ample = False
        self._mark = self._lossy_ns = self._short_ns = self._probed = None

    # --- up ------------------------------------------------------------------------------

    def _upward(self, current: int | None, higher: list[int], now_ns: int) -> Choice:
        """The best layer with room for it, or the next one after a probe that went well."""
        path = self._path
        again = self._probed is not None or self._watched
        stay = Choice(current, again=again, limited=self._suspect)
        if now_ns - self._lowered_ns < UP_HOLD_NS:
            return stay
        roomy = [place for place in higher if self._has_room(place)]
        if roomy and path.fraction_lost < LOSS_REPAIRED:
            return self._raise(roomy[-1], now_ns)
        if self._probed is not None:
            if path.reported_ns > self._probed[0]:
                self._probe_loss = max(self._probe_loss, path.fraction_lost)
            due = now_ns - self._probed[0] >= VERDICT_NS
            return self._verdict(stay, higher[0], now_ns) if due else stay
        if now_ns < self._next_probe_ns or path.fraction_lost >= LOSS_PROBED:
            return stay
        if not path.can_probe:
            return self._raise(higher[0], now_ns)
        return self._probe(current, self._need_bps(higher[0]), now_ns)

    def _probe(self, current: int | None, need_bps: int, now_ns: int) -> Choice:
        path = self._path
        sent_bps = path.audio_bps if current is None else self._need_bps(current)
        total_bps = need_bps * HEADROOM_PERCENT // 100
        if path.estimate_bps is not None and self._suspect:
            # A path that was too narrow once is tried in steps: less is lost on the way.
            total_bps = min(total_bps, 2 * max(path.estimate_bps, self._stage_bps, sent_bps))
        self._probed, self._probing_bps = (now_ns, path.estimate_bps), total_bps
        self._probe_loss, self._usual_loss = 0.0, path.fraction_lost
        extra_bps = min(max(total_bps - sent_bps, 1), PROBE_BPS_MAX)
        return Choice(current, extra_bps, again=True, limited=self._suspect)

    def _has_room(self, place: int) -> bool:
        if self._need_bps(place) * 100 <= self._proven_bps * MARGIN_PERCENT:
            return True
        return self._path.estimate_bps is not None and self._fits(place, HEADROOM_PERCENT)

    def _verdict(self, stay: Choice, next_up: int, now_ns: int) -> Choice:
        """A path that is too narrow for the probe had its queue filled: its estimate fell."""
        estimate_bps = self._path.estimate_bps
        before_bps = None if self._probed is None else self._probed[1]
        self._settle(now_ns)
        fell = estimate_bps is not None and _fell(estimate_bps, before_bps)
        if not fell and self._probe_loss < self._usual_loss + LOSS_REPAIRED:
            if self._probing_bps >= self._need_bps(next_up):
                return self._raise(next_up, now_ns)
            self._stage_bps, self._next_probe_ns = self._probing_bps, now_ns
            return Choice(stay.layer, again=True, limited=True)
        self._stage_bps = 0
        self._wait_longer()
        self._next_probe_ns = now_ns + self._probe_wait_ns
        return Choice(stay.layer, limited=True)

    def _raise(self, place: int, now_ns: int) -> Choice:
        self._note_change(now_ns)
        self._raised_ns = now_ns
        return Choice(place)


def _fell(estimate_bps: int, before_bps: int | None) -> bool:
    """True for an estimate lower than the one before; the first one of all tells of trouble too."""
    return before_bps is None or estimate_bps * 100 < before_bps * FALL_PERCENT
