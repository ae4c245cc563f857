"""The faults of `bench.impairment`: what each brings upon a line, and what must hold under it."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

from bench.impaired_link import Impairment
from bench.people import OnALine, Sample

TRIP_MS: Final = 20
"""Delay of an impaired direction where the fault is not delay itself: a country wide."""
EDGE_S: Final = 1.0
"""Frames are counted from a clean moment before the fault to one after it: within the fault some
are always on their way, which is no loss."""
WINDOW_S: Final = 20.0
"""Four hundred frames and more: one per cent is four of them."""
FRAMES_MIN_PERCENT: Final = 99.0

HEAVY_PERCENT: Final = 20.0
HEAVY_S: Final = 10.0
RECOVERY_S: Final = 2.0
FULL_RATE: Final = 0.8
"""Video has recovered when, over a second, this share of what is sent is decoded again."""
AUDIO_GAP_S_MAX: Final = 1.0
"""Audio goes on: no longer without a packet of it."""

CAP_BPS: Final = 300_000
CAP_QUEUE_MS: Final = 300
CAP_S: Final = 20.0
STEP_DOWN_S: Final = 3.0
CAP_TOLERANCE: Final = 1.1
AUDIO_LOSS_MAX_PERCENT: Final = 1.0
OTHERS_MAX_PERCENT: Final = 5.0
STEADY_S: Final = 5.0
STEADY_PERCENT: Final = 2.5
STEADY_S_MAX: Final = 60.0

OUTAGE_S: Final = 30.0
BACK_S_MAX: Final = 10.0
"""The page tries again every four seconds at most; a try takes less than one."""
GAP_S: Final = 1.5
"""The connection survives it; more is missing than repairs may carry."""
SHORT_OUTAGE_S: Final = 5.0
"""Browsers call a connection disconnected after about this long."""
SHORT_BACK_S_MAX: Final = 2.0
MOVING_S: Final = 1.5
STANDSTILL_S_MAX: Final = 0.6
"""Samples are 0.2 s apart; what moves is not still for three of them."""
WATCH_BACK_S: Final = 30.0
"""How long a picture is waited for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: the fault, what must hold, what was measured."""

    fault: str
    criterion: str
    measured: str
    met: bool

    def as_json(self) -> dict[str, object]:
        """For a file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scene:
    """An expert on air by webcam and the viewers in the room; `encoder` puts one more on air.

    That one is sent by an encoder: one layer, and keyframes when it likes.
    """

    expert: OnALine
    viewers: list[OnALine]
    encoder: Callable[[], Awaitable[str]]
    room: str


Fault = Callable[[Scene], Awaitable[list[Finding]]]


class Track:
    """One sum of one page over time, read between its samples too."""

    def __init__(self, samples: list[Sample], name: str) -> None:
        self._times = [sample.at_s for sample in samples]
        self._values = [sample[name] for sample in samples]

    def at(self, at_s: float) -> float:
        """The sum at that moment, on a straight line between two samples."""
        right = bisect_right(self._times, at_s)
        if right == 0 or right == len(self._times):
            return self._values[min(right, len(self._values) - 1)]
        before_s, after_s = self._times[right - 1], self._times[right]
        share = (at_s - before_s) / (after_s - before_s)
        return self._values[right - 1] + share * (self._values[right] - self._values[right - 1])

    def grown(self, from_s: float, to_s: float) -> float:
        """How much was added in between."""
        return self.at(to_s) - self.at(from_s)

    def longest_standstill_s(self, from_s: float, to_s: float) -> float:
        """The longest time in which nothing was added."""
        longest, last_s, last = 0.0, from_s, self.at(from_s)
        for at_s, value in zip(self._times, self._values, strict=True):
            if from_s < at_s <= to_s and value > last:
                longest, last_s, last = max(longest, at_s - last_s), at_s, value
        return max(longest, to_s - last_s)


class Sent:
    """The frames that an expert's page encoded of the layer that a viewer's page shows."""

    def __init__(self, sent: list[Sample], seen: list[Sample]) -> None:
        rids = sorted(n.partition(":")[2] for n in sent[-1].sums if n.startswith("encoded:"))
        self._layers = {rid: Track(sent, f"encoded:{rid}") for rid in rids}
        self._sent, self._seen = sent, seen

    def grown(self, from_s: float, to_s: float) -> float:
        """How many there were in between, whatever layer it was at the time."""
        inside = [sample.at_s for sample in self._seen if from_s < sample.at_s < to_s]
        return sum(self._step(a, b) for a, b in pairwise([from_s, *inside, to_s]))

    def _step(self, from_s: float, to_s: float) -> float:
        width = _newest(self._seen, to_s)["width"]
        newest = _newest(self._sent, to_s)
        grown = {rid: track.grown(from_s, to_s) for rid, track in self._layers.items()}
        shown = [rid for rid in grown if newest[f"width:{rid}"] == width]
        return grown[shown[0]] if shown else max(grown.values(), default=0.0)


def _newest(samples: list[Sample], until_s: float) -> Sample:
    """The last sample by that moment, or the first of all."""
    index = bisect_right([sample.at_s for sample in samples], until_s)
    return samples[max(index - 1, 0)]


async def _until(at_s: float) -> None:
    await asyncio.sleep(max(at_s - time.time(), 0) + 0.5)  # half a second for the last samples


def _concealed_percent(samples: list[Sample], from_s: float, to_s: float) -> float:
    heard = Track(samples, "samples").grown(from_s, to_s)
    return 100 * Track(samples, "concealed").grown(from_s, to_s) / heard if heard else 100.0


async def _frames(
    scene: Scene,
    *,
    fault: str,
    to_server: Impairment | None = None,
    to_viewer: Impairment | None = None,
) -> list[Finding]:
    """What is sent is decoded, though the way of the expert or of the first viewer is impaired."""
    viewer = scene.viewers[0]
    begin_s = time.time()
    await asyncio.sleep(EDGE_S)
    from_s = time.time()
    if to_server is not None:
        scene.expert.line.impair(up=to_server, down=Impairment(delay_ms=TRIP_MS))
    if to_viewer is not None:
        viewer.line.impair(down=to_viewer, up=Impairment(delay_ms=TRIP_MS))
    await asyncio.sleep(WINDOW_S)
    scene.expert.line.impair()
    viewer.line.impair()
    to_s = time.time()
    await _until(to_s + EDGE_S)
    seen = await viewer.samples()
    encoded = Sent(await scene.expert.samples(), seen)
    whole = (begin_s + EDGE_S / 2, to_s + EDGE_S)
    missing = encoded.grown(*whole) - Track(seen, "framesDecoded").grown(*whole)
    sent = encoded.grown(from_s, to_s)
    percent = 100 * (1 - missing / sent) if sent else 0.0
    still_s = Track(seen, "framesDecoded").longest_standstill_s(from_s, to_s)
    counted = {name: Track(seen, name).grown(from_s, to_s) for name in ("plis", "nacks", "repairs")}
    measured = (
        f"{percent:.1f} % of {sent:.0f} frames (longest standstill {still_s:.1f} s, "
        f"{counted['repairs']:.0f} repairs, {counted['plis']:.0f} PLI), "
        f"sound concealed {_concealed_percent(seen, from_s, to_s):.1f} %"
    )
    criterion = f"at least {FRAMES_MIN_PERCENT:.0f} % of frames decode"
    return [Finding(fault, criterion, measured, percent >= FRAMES_MIN_PERCENT)]


async def _heavy_loss(scene: Scene, *, fault: str, of_expert: bool) -> list[Finding]:
    """Audio goes on under heavy loss; video is back soon after it."""
    viewer = scene.viewers[0]
    lossy = Impairment(loss_percent=HEAVY_PERCENT, delay_ms=TRIP_MS)
    slow = Impairment(delay_ms=TRIP_MS)
    from_s = time.time()
    if of_expert:
        scene.expert.line.impair(up=lossy, down=slow)
    else:
        viewer.line.impair(down=lossy, up=slow)
    await asyncio.sleep(HEAVY_S)
    (scene.expert if of_expert else viewer).line.impair(up=slow, down=slow)
    end_s = time.time()
    await _until(end_s + RECOVERY_S + 3)
    scene.expert.line.impair()
    viewer.line.impair()
    seen, sent = await viewer.samples(), await scene.expert.samples()
    gap_s = Track(seen, "audioPackets").longest_standstill_s(from_s, end_s)
    concealed = _concealed_percent(seen, from_s, end_s)
    recovered_s = _recovered_s(sent, seen, end_s)
    shown = Track(seen, "framesDecoded").grown(from_s, end_s)
    frames = Sent(sent, seen).grown(from_s, end_s)
    return [
        Finding(
            fault,
            "audio goes on",
            f"longest gap {gap_s:.1f} s, concealed {concealed:.1f} %; "
            f"video meanwhile {shown:.0f} of {frames:.0f} frames",
            gap_s <= AUDIO_GAP_S_MAX,
        ),
        Finding(
            fault,
            f"video recovers within {RECOVERY_S:.0f} s of its end",
            "not within 4 s" if recovered_s is None else f"{recovered_s:.1f} s",
            recovered_s is not None and recovered_s <= RECOVERY_S,
        ),
    ]


def _recovered_s(sent: list[Sample], seen: list[Sample], end_s: float) -> float | None:
    """How long after `end_s` a second began that was decoded at the full rate."""
    encoded, decoded = Sent(sent, seen), Track(seen, "framesDecoded")
    for tenth in range(40):
        start_s = end_s + tenth / 10
        expected = encoded.grown(start_s, start_s + 1)
        if expected > 0 and decoded.grown(start_s, start_s + 1) >= FULL_RATE * expected:
            return tenth / 10
    return None


async def _cap(scene: Scene, *, fault: str, by_webcam: bool = True) -> list[Finding]:
    """A viewer whose line becomes narrow gets less, keeps the sound, and costs nobody anything."""
    slow = scene.viewers[0]
    await _until_steady(scene.viewers[1:])
    before_s = time.time()
    await _until(before_s + CAP_S / 2)
    carrier = slow.line.down
    slow.line.impair(down=Impairment(rate_bps=CAP_BPS, queue_ms=CAP_QUEUE_MS))
    from_s = time.time()
    offered = [(from_s, carrier.link.passed.offered_octets)]
    while time.time() < from_s + CAP_S:
        await asyncio.sleep(0.1)
        offered.append((time.time(), carrier.link.passed.offered_octets))
    to_s = time.time()
    await _until(to_s)
    slow.line.impair()
    end_s = time.time()
    rate = Track(await slow.samples(), "framesDecoded").grown(from_s - 2, from_s) / 2
    back_s = await _wait_back_s(slow, end_s, rate)
    return [
        *_narrowed(fault, await slow.samples(), offered, to_s),
        await _others(fault, scene, (before_s, from_s, to_s), by_webcam=by_webcam),
        Finding(
            fault,
            f"the picture is back within {BACK_S_MAX:.0f} s of its end",
            "never" if back_s is None else f"{back_s:.1f} s",
            back_s is not None and back_s <= BACK_S_MAX,
        ),
    ]


async def _until_steady(viewers: list[OnALine]) -> None:
    """A sender climbs for a while after another fault: a rate that moves by itself says nothing."""
    give_up_s = time.time() + STEADY_S_MAX
    steady = False
    while not steady and time.time() < give_up_s:
        now_s = time.time() + STEADY_S
        await _until(now_s)
        rates = []
        for viewer in viewers:
            got = Track(await viewer.samples(), "bytes")
            halves = (now_s - 2 * STEADY_S, now_s - STEADY_S, now_s)
            rates.append((got.grown(*halves[:2]), got.grown(*halves[1:])))
        steady = all(abs(_change(was, now)) < STEADY_PERCENT for was, now in rates)


def _narrowed(
    fault: str, seen: list[Sample], offered: list[tuple[float, int]], to_s: float
) -> list[Finding]:
    """What the capped viewer is sent and hears; `offered` are octets since a moment's beginning."""
    from_s = offered[0][0]
    down_s = _under_cap_s(offered)
    steady_s = from_s + STEP_DOWN_S
    lost = Track(seen, "audioLost").grown(steady_s, to_s)
    heard = Track(seen, "audioPackets").grown(steady_s, to_s)
    loss = 100 * lost / (lost + heard) if lost + heard > 0 else 100.0
    early = Track(seen, "audioLost").grown(from_s, steady_s)
    frames = Track(seen, "framesDecoded").grown(steady_s, to_s) / (to_s - steady_s)
    began = next(entry for entry in offered if entry[0] >= steady_s)
    after_bps = (offered[-1][1] - began[1]) * 8 / (offered[-1][0] - began[0])
    return [
        Finding(
            fault,
            f"what is sent to it fits within {STEP_DOWN_S:.0f} s",
            f"{'never' if down_s is None else f'{down_s:.1f} s'}; from {STEP_DOWN_S:.0f} s on "
            f"{after_bps / 1000:.0f} kbit/s, {frames:.1f} frames/s",
            down_s is not None and down_s <= STEP_DOWN_S and after_bps <= CAP_BPS,
        ),
        Finding(
            fault,
            f"its audio loss is under {AUDIO_LOSS_MAX_PERCENT:.0f} %",
            f"{loss:.2f} % of {lost + heard:.0f} packets from {STEP_DOWN_S:.0f} s on; "
            f"{early:.0f} packets before; "
            f"concealed {_concealed_percent(seen, steady_s, to_s):.1f} %",
            loss < AUDIO_LOSS_MAX_PERCENT,
        ),
    ]


async def _cap_single(scene: Scene, *, fault: str) -> list[Finding]:
    """The same where there is no smaller layer: the picture has to yield to the sound."""
    name = await scene.encoder()
    slow, other = scene.viewers[:2]
    for viewer in (slow, other):
        await viewer.watch(name)
    found = await _cap(replace(scene, viewers=[slow, other]), fault=fault, by_webcam=False)
    for viewer in (slow, other):
        await viewer.watch(scene.room)
    return found


async def _others(
    fault: str, scene: Scene, times_s: tuple[float, float, float], *, by_webcam: bool
) -> Finding:
    """What the other viewers get, before and during."""
    before_s, from_s, to_s = times_s
    moved = []
    for viewer in scene.viewers[1:]:
        got = Track(await viewer.samples(), "bytes")
        was_bps = got.grown(before_s, from_s) * 8 / (from_s - before_s)
        is_bps = got.grown(from_s, to_s) * 8 / (to_s - from_s)
        moved.append((was_bps, is_bps))
    said = " and ".join(
        f"{_change(was, now):+.1f} % of {was / 1000:.0f} kbit/s" for was, now in moved
    )
    if by_webcam:
        asked = Track(await scene.expert.samples(), "plis").grown(from_s, to_s)
        said += f"; the expert was asked for {asked:.0f} keyframes"
    return Finding(
        fault,
        f"the others' bitrates move by less than {OTHERS_MAX_PERCENT:.0f} %",
        said,
        all(abs(_change(was, now)) < OTHERS_MAX_PERCENT for was, now in moved),
    )


def _change(was: float, now: float) -> float:
    """In per cent."""
    return 100 * (now - was) / was if was else -100.0


def _under_cap_s(offered: list[tuple[float, int]]) -> float | None:
    """When, counted from the first entry, the first second begins in which the cap is kept."""
    for index, (at_s, octets) in enumerate(offered):
        later = next(((t, o) for t, o in offered[index:] if t >= at_s + 1), None)
        if later is None:
            return None
        if (later[1] - octets) * 8 / (later[0] - at_s) <= CAP_BPS * CAP_TOLERANCE:
            return at_s - offered[0][0]
    return None


async def _outage(
    scene: Scene, *, fault: str, of_expert: bool, length_s: float, back_s_max: float
) -> list[Finding]:
    """The network is away for a while and comes back; so does the picture, in the same page."""
    hit = scene.expert if of_expert else scene.viewers[0]
    watchers = scene.viewers if of_expert else [hit]
    cut = Impairment(cut=True)
    before = [await _place(person) for person in (hit, *watchers)]
    from_s = time.time()
    rates = [
        Track(await watcher.samples(), "framesDecoded").grown(from_s - 2, from_s - 1)
        for watcher in watchers
    ]
    hit.line.impair(up=cut, down=cut)
    from_s = time.time()
    await asyncio.sleep(length_s)
    hit.line.impair()
    end_s = time.time()
    back = [
        await _wait_back_s(watcher, end_s, rate)
        for watcher, rate in zip(watchers, rates, strict=True)
    ]
    stayed = before == [await _place(person) for person in (hit, *watchers)]
    dark = Track(await watchers[0].samples(), "framesDecoded").grown(from_s + 1, end_s - 0.3)
    said = ", ".join("never" if b is None else f"{b:.1f} s" for b in back)
    return [
        Finding(
            fault,
            f"the picture is back within {back_s_max:.0f} s, without a reload",
            f"{said}; {'same page' if stayed else 'RELOADED'}; {dark:.0f} frames during the outage",
            stayed and dark == 0 and all(b is not None and b <= back_s_max for b in back),
        )
    ]


async def _place(person: OnALine) -> tuple[str, float]:
    """The page's address and when its document was made."""
    return person.page.url, (await person.newest()).born_ms


async def _wait_back_s(watcher: OnALine, end_s: float, rate: float) -> float | None:
    """How long after `end_s` the picture moved again, once it does; None when it never did."""
    while time.time() < end_s + WATCH_BACK_S:
        await asyncio.sleep(0.2)
        found = _back_s(await watcher.samples(end_s - 1), end_s, rate)
        if found is not None:
            return found
    return None


def _back_s(samples: list[Sample], end_s: float, rate: float) -> float | None:
    """How long after `end_s` a stretch begins in which the picture moves as before and steadily."""
    decoded = Track(samples, "framesDecoded")
    tenths = int((samples[-1].at_s - MOVING_S - end_s) * 10)
    for tenth in range(max(tenths, 0)):
        start_s = end_s + tenth / 10
        moving = decoded.grown(start_s, start_s + MOVING_S) >= FULL_RATE * rate * MOVING_S
        steady = decoded.longest_standstill_s(start_s, start_s + MOVING_S) <= STANDSTILL_S_MAX
        if moving and steady:
            return tenth / 10
    return None


_LOSS = Impairment(loss_percent=5, delay_ms=TRIP_MS)
_BURSTS = Impairment(loss_percent=5, burst=5, delay_ms=TRIP_MS)
_JITTER = Impairment(delay_ms=TRIP_MS, jitter_ms=30)
_SHUFFLE = Impairment(delay_ms=TRIP_MS, reorder_percent=5, reorder_ms=15, duplicate_percent=5)

FAULTS: Final[dict[str, Fault]] = {
    "clean": partial(_frames, fault="none"),
    "loss-viewer": partial(_frames, fault="5 % loss to a viewer", to_viewer=_LOSS),
    "loss-publisher": partial(_frames, fault="5 % loss from the publisher", to_server=_LOSS),
    "loss-both": partial(_frames, fault="5 % loss on both ways", to_server=_LOSS, to_viewer=_LOSS),
    "bursts": partial(
        _frames,
        fault="5 % loss in runs of five, on both ways",
        to_server=_BURSTS,
        to_viewer=_BURSTS,
    ),
    "shuffle": partial(
        _frames,
        fault="5 % overtaken by 15 ms, 5 % doubled, on both ways",
        to_server=_SHUFFLE,
        to_viewer=_SHUFFLE,
    ),
    "jitter": partial(
        _frames, fault="30 ms of jitter on both ways", to_server=_JITTER, to_viewer=_JITTER
    ),
    "heavy-viewer": partial(_heavy_loss, fault="20 % loss to a viewer for 10 s", of_expert=False),
    "heavy-publisher": partial(
        _heavy_loss, fault="20 % loss from the publisher for 10 s", of_expert=True
    ),
    "cap": partial(_cap, fault="one viewer of three capped at 300 kbit/s"),
    "cap-single": partial(
        _cap_single, fault="one viewer of two capped at 300 kbit/s, encoder with one layer"
    ),
    **{
        f"{name}-{'publisher' if of_expert else 'viewer'}": partial(
            _outage,
            fault=f"{length_s:g} s of outage at {'the publisher' if of_expert else 'a viewer'}",
            of_expert=of_expert,
            length_s=length_s,
            back_s_max=back_s_max,
        )
        for name, length_s, back_s_max in (
            ("gap", GAP_S, SHORT_BACK_S_MAX),
            ("short-outage", SHORT_OUTAGE_S, SHORT_BACK_S_MAX),
            ("outage", OUTAGE_S, BACK_S_MAX),
        )
        for of_expert in (False, True)
    },
}
