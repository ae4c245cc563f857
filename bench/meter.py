"""The meter under load: many private sessions ticking on one SQLite file, with synthetic media.

    python -m bench.meter [--sessions 1000 10000] [--seconds 20] [--dir DIR] [--json result.json]

Each size runs in a process of its own, on the real till with the real ledger. Reported are how long
the one transaction of a tick takes, how late the event loop is meanwhile, and the CPU's share.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    ("sessions", "sessions"),
    ("ticks", "ticks"),
    ("commit p50 ms", "tick_commit_ms_p50"),
    ("commit p99 ms", "tick_commit_ms_p99"),
    ("loop lag p99 ms", "loop_lag_ms_p99"),
    ("loop lag max ms", "loop_lag_ms_max"),
    ("open p50 ms", "open_ms_p50"),
    ("open p99 ms", "open_ms_p99"),
    ("CPU share", "cpu_share"),
    ("lost", "sessions_lost"),
    ("books clean", "books_clean"),
)
START_S_PER_SESSION = 0.1
"""Opening is one durable transaction each; a slow disk takes a few hundredths of a second."""


def soak(sessions: int, seconds: float, directory: Path | None) -> dict[str, Any]:
    """Run one size in a fresh process; raises when it fails or its books do not add up."""
    words = [sys.executable, "-m", "billing_meter.soak", "--json"]
    words += ["--sessions", str(sessions), "--seconds", str(seconds)]
    if directory is not None:
        words += ["--dir", str(directory)]
    timeout_s = 120 + 4 * seconds + sessions * START_S_PER_SESSION
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{sessions} sessions failed: {done.stdout}{done.stderr[-2_000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def table(results: list[dict[str, Any]]) -> str:
    """One row per size."""
    rows = [[name for name, _ in COLUMNS]]
    rows += [[str(result[key]) for _, key in COLUMNS] for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def main() -> None:
    """Print the table, and with `--json` write all figures with machine and versions."""
    parser = argparse.ArgumentParser(description="Many private sessions on the real till.")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1_000])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dir", type=Path, help="where the database file goes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = [soak(sessions, options.seconds, options.dir) for sessions in options.sessions]
    print(table(results))
    for name, value in results[0]["machine"].items():
        print(f"{name:>12}  {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
