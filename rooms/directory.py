"""What the rooms need to know of accounts, as a Protocol; the accounts live elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from billing_meter.tariff import Tariff
from rooms.roles import Standing, Visitor


@dataclass(frozen=True, slots=True)
class ExpertDetails:
    """What an expert may change; prices are frozen per session when it is accepted."""

    display_name: str
    headline: str
    about: str
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    tariff: Tariff
    cam2cam: bool
    two_way_audio: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertProfile(ExpertDetails):
    """An expert as the public may see them. `name` is the unique broadcaster name."""

    expert_id: str
    name: str


class Directory(Protocol):
    """Accounts, read-only. The expert look-ups answer from memory: the grid asks often."""

    def experts(self) -> Sequence[ExpertProfile]:
        """Every expert who may broadcast, in the order the grid should use."""
        ...

    def expert(self, expert_id: str) -> ExpertProfile | None:
        """One expert by account id."""
        ...

    def expert_by_name(self, name: str) -> ExpertProfile | None:
        """One expert by broadcaster name, whatever the case."""
        ...

    async def standing(self, visitor: Visitor) -> Standing:
        """Premium and rank of the visitor's account, now."""
        ...
