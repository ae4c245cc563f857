"""Draws measured runs as an SVG: the cost per second over the number of viewers, a line a server.

    python -m bench.plot docs/bench/fanout.json docs/bench/fanout.svg

SVG is text: it needs no library, and a change of it shows in a diff.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 40, 60
COLOURS = ("#0b6e4f", "#c1440e", "#7a5195", "#2f6690", "#b08900", "#555555")
STEPS = (1, 2, 2.5, 5, 10)
TICKS = 5


def draw(runs: list[dict[str, Any]]) -> str:
    """The whole picture. `runs` are results of `bench.fanout`; any of them may lack a server."""
    servers: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        percent = 100 * float(run["server_cpu_share"])
        name = str(run["server"]) + (f" ({run['house']})" if run.get("house") else "")
        servers.setdefault(name, []).append((float(run["viewers"]), percent))
    across = _nice(max(x for points in servers.values() for x, _ in points))
    up = _nice(max(y for points in servers.values() for _, y in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">CPU of the whole server process '
        "(% of a core), one 1.5 Mbit/s stream with sound</text>",
    ]
    parts += _axes(across, up)
    for number, (name, points) in enumerate(servers.items()):
        parts += _line(name, sorted(points), number, across, up)
    return "\n".join([*parts, "</svg>", ""])


def _nice(most: float) -> float:
    """The round number at or above."""
    size = 10.0 ** math.floor(math.log10(most))
    return next(step * size for step in STEPS if step * size >= most)


def _place(x: float, y: float, across: float, up: float) -> tuple[float, float]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return LEFT + x / across * wide, HEIGHT - BOTTOM - y / up * high


def _axes(across: float, up: float) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        x, bottom = _place(across * tick / TICKS, 0, across, up)
        left, y = _place(0, up * tick / TICKS, across, up)
        right, share = WIDTH - RIGHT, tick / TICKS
        parts += [
            f'<line x1="{left:.1f}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{up * share:g}</text>',
            f'<text x="{x:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">'
            f"{across * share:g}</text>",
        ]
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 15}" text-anchor="middle">viewers</text>')
    return parts


def _line(
    name: str, points: list[tuple[float, float]], number: int, across: float, up: float
) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [_place(x, y, across, up) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    label = TOP + 20 * number
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *dots,
        f'<rect x="{WIDTH - RIGHT + 20}" y="{label - 10}" width="12" height="12" fill="{colour}"/>',
        f'<text x="{WIDTH - RIGHT + 38}" y="{label}">{name}</text>',
    ]


def main() -> int:
    """Read JSON files of `bench.fanout --json`, write one SVG."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("svg", type=Path)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for path in options.results:
        found = json.loads(path.read_text())
        runs += found if isinstance(found, list) else [found]
    options.svg.write_text(draw(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
