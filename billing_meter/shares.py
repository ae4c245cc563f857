"""Experts' shares (pure): how much of what members pay is the expert's, for each feature.

A share is a whole percentage. The expert has the units of each feature times its percentage, all
added up and rounded down once; the platform has the rest. So the whole only ever grows with what
is charged, and one percentage for everything gives what `ledger.share` gives.

Several features in one charge, as in a private session, have exact parts of that whole: each
running sum, beginning with the last feature, is rounded down, so that the first has what is left.
No rule could both add up to such a whole and let no single part ever be a unit smaller than
before; what is posted is the whole.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from billing_meter.features import REPLY, Feature
from billing_meter.group_rules import GROUP_KIND
from billing_meter.tariff import Component

SHARE_PERCENT: Final = 60
PERCENT_MAX: Final = 100


class Source(enum.StrEnum):
    """What an expert earns by; each has a share of its own."""

    PRIVATE = "private"
    CAM2CAM = "cam2cam"
    TWO_WAY_AUDIO = "two_way_audio"
    SURPRISE = "surprise"
    STORY = "story"
    CONTENT = "content"
    MESSAGE = "message"
    GROUP = "group"


OF_KINDS: Final[Mapping[str, Source]] = {
    **{feature.value: Source(feature.value) for feature in Feature},
    REPLY: Source.MESSAGE,
    GROUP_KIND: Source.GROUP,
}
"""The kinds of transfers that have a share of their own."""


@dataclass(frozen=True, slots=True)
class Shares:
    """An expert's percentages, 0 to 100 each (else ValueError), in the order of `Source`."""

    private: int = SHARE_PERCENT
    cam2cam: int = SHARE_PERCENT
    two_way_audio: int = SHARE_PERCENT
    surprise: int = SHARE_PERCENT
    story: int = SHARE_PERCENT
    content: int = SHARE_PERCENT
    message: int = SHARE_PERCENT
    group: int = SHARE_PERCENT

    def __post_init__(self) -> None:
        for source in Source:
            if not 0 <= self.of(source) <= PERCENT_MAX:
                raise ValueError(f"the share of {source} is 0 to {PERCENT_MAX} per cent")

    @classmethod
    def alike(cls, percent: int) -> Shares:
        """The same for everything."""
        return cls(*(percent for _ in Source))

    def of(self, source: Source) -> int:
        """The percentage of one feature."""
        percent: int = getattr(self, source.value)
        return percent

    def of_kind(self, kind: str) -> int:
        """The percentage of a transfer of this kind; what has none of its own has the session's."""
        return self.of(OF_KINDS.get(kind, Source.PRIVATE))

    @property
    def of_session(self) -> SessionShares:
        """What a session that opens now keeps until its end."""
        return SessionShares(self.private, self.cam2cam, self.two_way_audio)


DEFAULT_SHARES: Final = Shares()
"""Unless the configuration says otherwise."""


class SessionShares(NamedTuple):
    """The percentages of one private session, in the order of `Component`."""

    private: int
    cam2cam: int
    two_way_audio: int

    def of(self, component: Component) -> int:
        """The percentage of one component."""
        percent: int = getattr(self, component.value)
        return percent

    def earned(self, units: Sequence[int]) -> int:
        """The expert's units of what the components cost."""
        return weighed(units, self) // PERCENT_MAX

    def earned_by(self, units: Sequence[int]) -> tuple[int, ...]:
        """The same by component."""
        return parts([units * percent for units, percent in zip(units, self, strict=True)])

    def kept(self, units: Sequence[int], rest_units: int) -> int:
        """What the expert keeps of a session of which `rest_units` were not given back.

        The same part of the rest as of the whole, rounded down.
        """
        whole = sum(units)
        return weighed(units, self) * rest_units // (PERCENT_MAX * whole) if whole else 0


class Row(Protocol):
    """Columns of a session's row, by name."""

    def __getitem__(self, name: str, /) -> Any: ...


SESSION_COLUMNS: Final = ("share_percent", "cam2cam_share_percent", "two_way_audio_share_percent")
"""Of a session's row, in the order of `Component`."""


def of_session_row(row: Row) -> SessionShares:
    """What a stored session was opened with."""
    return SessionShares(*(row[name] for name in SESSION_COLUMNS))


def units_of_row(row: Row) -> tuple[int, ...]:
    """What a stored session's seconds cost, by component."""
    return tuple(row[f"{c}_s"] * row[f"{c}_units_per_s"] for c in Component)


def posted_of_row(row: Row) -> tuple[int, ...]:
    """What was posted of a stored session by component: what the seconds in its row cost."""
    private, *surcharges = units_of_row(row)
    return (private + row["posted_units"] - row["charged_units"], *surcharges)


def earned_of_row(row: Row) -> tuple[int, ...]:
    """What the expert has of it by component, in all what the row says."""
    _, *surcharges = of_session_row(row).earned_by(posted_of_row(row))
    return (row["expert_units"] - sum(surcharges), *surcharges)


def taken_back(row: Row, granted_units: int) -> int:
    """What the expert gives back when so much of a session that is over goes back."""
    of_session, units = of_session_row(row), units_of_row(row)
    return of_session.earned(units) - of_session.kept(units, sum(units) - granted_units)


def weighed(units: Sequence[int], percents: Sequence[int]) -> int:
    """Hundredths of units that are the expert's."""
    return sum(units * percent for units, percent in zip(units, percents, strict=True))


def parts(weights: Sequence[int]) -> tuple[int, ...]:
    """The parts of `sum(weights) // 100`, each 0 or more and less than a unit beside its own."""
    before, found = 0, list[int]()
    for index in reversed(range(len(weights))):
        after = sum(weights[index:]) // PERCENT_MAX
        found.append(after - before)
        before = after
    return tuple(reversed(found))


def split(whole: int, weights: Sequence[int]) -> tuple[int, ...]:
    """`whole` in the proportion of weights, rounded in the same way; none is above its weight as
    long as the whole is not above them all."""
    total, before, found = sum(weights), 0, list[int]()
    for index in reversed(range(len(weights))):
        after = whole * sum(weights[index:]) // total if total else 0
        found.append(after - before)
        before = after
    return tuple(reversed(found))
