"""Tariffs: what a second of each component of a private session costs, frozen at acceptance."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

PRIVATE_UNITS_PER_S_MIN = 99
"""0.99 credits a minute."""
RATE_UNITS_PER_S_MAX = 9_999
"""99.99 credits a minute."""
PRIVATE_UNITS_PER_S_DEFAULT = 299
CAM2CAM_UNITS_PER_S_DEFAULT = 100
TWO_WAY_AUDIO_UNITS_PER_S_DEFAULT = 50


class Component(enum.StrEnum):
    """What is charged separately inside a session; PRIVATE is the session itself."""

    PRIVATE = "private"
    CAM2CAM = "cam2cam"
    TWO_WAY_AUDIO = "two_way_audio"


@dataclass(frozen=True, slots=True)
class Tariff:
    """Units per second of each component; a surcharge may be 0. ValueError outside the limits."""

    private_units_per_s: int = PRIVATE_UNITS_PER_S_DEFAULT
    cam2cam_units_per_s: int = CAM2CAM_UNITS_PER_S_DEFAULT
    two_way_audio_units_per_s: int = TWO_WAY_AUDIO_UNITS_PER_S_DEFAULT

    def __post_init__(self) -> None:
        if not PRIVATE_UNITS_PER_S_MIN <= self.private_units_per_s <= RATE_UNITS_PER_S_MAX:
            raise ValueError(
                f"a private second costs {PRIVATE_UNITS_PER_S_MIN} to {RATE_UNITS_PER_S_MAX} units"
            )
        for surcharge in (self.cam2cam_units_per_s, self.two_way_audio_units_per_s):
            if not 0 <= surcharge <= RATE_UNITS_PER_S_MAX:
                raise ValueError(f"a surcharge costs 0 to {RATE_UNITS_PER_S_MAX} units a second")

    def rate(self, component: Component) -> int:
        """Units per second of one component."""
        match component:
            case Component.PRIVATE:
                return self.private_units_per_s
            case Component.CAM2CAM:
                return self.cam2cam_units_per_s
            case Component.TWO_WAY_AUDIO:
                return self.two_way_audio_units_per_s

    def total(self, components: Iterable[Component]) -> int:
        """Units per second of several components together."""
        return sum(self.rate(component) for component in components)
