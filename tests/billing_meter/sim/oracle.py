"""What a session must cost, from the packets that passed alone: an independent count."""

from __future__ import annotations

from dataclasses import dataclass, field

from billing_meter.meter import SessionOrder
from billing_meter.tariff import Component
from tests.billing_meter.sim.gate import HELD_WINDOW_NS, MS, S, SimGate, Span

CUT_GAP_NS = 250 * MS
"""A meter that cuts media which flows pays the last second up to the cut."""


def both(one: list[Span], two: list[Span]) -> list[Span]:
    """Where two ordered lists of spans overlap."""
    found, first = [], 0
    for begin, end in one:
        while first < len(two) and two[first][1] <= begin:
            first += 1
        for other_begin, other_end in two[first:]:
            if other_begin >= end:
                break
            found.append((max(begin, other_begin), min(end, other_end)))
    return found


def length_ns(spans: list[Span]) -> int:
    return sum(end - begin for begin, end in spans)


HINDSIGHT_S = 2
"""Whether the last 1.5 s of a surcharge were held is known only at the next packets. If they were,
and the grant is used up to its last second, so many seconds of it at most stay free for ever."""


@dataclass
class Life:
    """One session as the people in it, and their media, know it."""

    order: SessionOrder
    gates: dict[Component, list[SimGate]] = field(default_factory=dict)
    switched: dict[Component, list[list[int]]] = field(default_factory=dict)
    """Component → [on, off] instants; off is the far future while it is on."""
    seated: bool = False
    """Somebody was told that it is open."""
    told_started: bool = False
    told_paused: bool = False
    """Of media that had started; before that nothing is charged either."""
    told_end: bool = False
    told_units: int = 0
    cut_by_meter: bool = False
    short: bool = False
    """What is set aside may not pay a surcharge second that only became held in hindsight."""

    def switch(self, component: Component, on: bool, now_ns: int) -> None:
        """As the client was told."""
        stretches = self.switched.setdefault(component, [])
        is_on = bool(stretches) and stretches[-1][1] == 2**63
        if on and not is_on:
            stretches.append([now_ns, 2**63])
        if not on and is_on:
            stretches[-1][1] = now_ns

    def is_on(self, component: Component) -> bool:
        """Whether packets of it may pass."""
        stretches = self.switched.get(component)
        return component is Component.PRIVATE or bool(stretches and stretches[-1][1] == 2**63)

    def spans(
        self, component: Component, until_ns: int | None = None, *, rounded: bool = False
    ) -> list[Span]:
        """Held media. Between two gates nothing was forwarded.

        With `until_ns`: as it will be if media flows up to then. `rounded`: as long as a cut by the
        meter may have made the last second.
        """
        found: list[Span] = []
        gates = self.gates.get(component, [])
        for gate in gates:
            gate.run()
            found += gate.spans
        if until_ns is not None and gates and self.is_on(component):
            now_ns = gates[-1].now_ns
            last = gates[-1].spans[-1][1] if gates[-1].spans else None
            flows = last is not None and now_ns - last < HELD_WINDOW_NS
            begin = last if flows and last is not None else now_ns
            if until_ns > begin:
                found.append((begin, until_ns))
        if rounded and self.cut_by_meter and found:
            last = max(end for _, end in found)
            found.append((last, last + CUT_GAP_NS))
        return sorted(found)

    def seconds(
        self, until_ns: int | None = None, *, rounded: bool = False
    ) -> dict[Component, int]:
        """Whole held seconds of each component; of surcharges where the session held media too."""
        private = self.spans(Component.PRIVATE, until_ns, rounded=rounded)
        counted = {Component.PRIVATE: length_ns(private) // S}
        for component in (Component.CAM2CAM, Component.TWO_WAY_AUDIO):
            on = [(begin, end) for begin, end in self.switched.get(component, [])]
            media = both(self.spans(component, until_ns, rounded=rounded), on) if on else []
            counted[component] = length_ns(both(media, private)) // S
        return counted

    def cost_units(self, until_ns: int | None = None, *, rounded: bool = False) -> int:
        """Each whole second held is one charge, and nothing else is."""
        seconds, tariff = self.seconds(until_ns, rounded=rounded), self.order.tariff
        return sum(tariff.rate(component) * count for component, count in seconds.items())

    @property
    def hindsight_units(self) -> int:
        """What such seconds would cost."""
        tariff = self.order.tariff
        switched = [component for component, on in self.switched.items() if on]
        return sum(tariff.rate(component) * HINDSIGHT_S for component in switched)

    def open_for(self, component: Component) -> bool:
        """Whether a packet of it would pass now."""
        return any(gate.until_ns > gate.now_ns for gate in self.gates.get(component, ()))

    @property
    def open_until_ns(self) -> int:
        """How far its gate is open."""
        gates = self.gates.get(Component.PRIVATE)
        return gates[-1].until_ns if gates else 0

    def die(self) -> None:
        """All of its media stops."""
        for gates in self.gates.values():
            for gate in gates:
                gate.die()
