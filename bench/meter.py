"""The meter under load: many private sessions ticking on one database, with synthetic media.

    python -m bench.meter [--sessions 1000 10000] [--seconds 20] [--dir DIR] [--json result.json]
    python -m bench.meter --url postgresql+asyncpg://… (an empty database, for one size)

Each size runs in a process of its own, on the real till with the real ledger. Reported are how long
the one transaction of a tick takes, how late the event loop is meanwhile, and the CPU's share.

With `--debits` it is the debits that somebody waits for instead (`billing_meter.soak_debits`), over
the counter and, as the peer of the same run, with a transaction for each.

With `--ledger 10000000` it is a ledger of so many transfers (`billing_meter.soak_ledger`), which
the database fills by itself, into a file that is removed afterwards (6 GB): how long a balance and
a page of history take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
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


DEBIT_COLUMNS = (
    ("way", "way"),
    ("debits/s", "debits_per_s"),
    ("p50 ms", "wait_ms_p50"),
    ("p99 ms", "wait_ms_p99"),
    ("CPU share", "cpu_share"),
    ("CPU µs each", "cpu_us_each"),
)


LEDGER_COLUMNS = (
    ("asked for", "asked for"),
    ("transfers", "transfers"),
    ("of each member", "of each member"),
    ("p50 ms", "ms_p50"),
    ("p99 ms", "ms_p99"),
    ("max ms", "ms_max"),
    ("CPU ms", "cpu_ms"),
    ("filled in s", "filled_s"),
)
FILL_S_PER_MILLION = 60


def soak(sessions: int, seconds: float, directory: Path | None, url: str | None) -> dict[str, Any]:
    """Run one size in a fresh process; raises when it fails or its books do not add up."""
    words = ["billing_meter.soak", "--json", "--sessions", str(sessions)]
    words += ["--seconds", str(seconds)]
    if url is not None:
        words += ["--url", url]
    timeout_s = 120 + 4 * seconds + sessions * START_S_PER_SESSION
    result: dict[str, Any] = _run(words, directory, timeout_s)
    return result


def soak_debits(
    clients: int, seconds: float, directory: Path | None, url: str | None
) -> list[dict[str, Any]]:
    """Both ways of debiting on one ledger, in a fresh process."""
    words = ["billing_meter.soak_debits", "--clients", str(clients), "--seconds", str(seconds)]
    if url is not None:
        words += ["--url", url]
    results: list[dict[str, Any]] = _run(words, directory, 120 + 4 * seconds)
    return results


def soak_ledger(
    transfers: int, per_member: int, directory: Path | None, url: str | None
) -> list[dict[str, Any]]:
    """Questions to a large ledger, in a fresh process."""
    words = ["billing_meter.soak_ledger", "--transfers", str(transfers)]
    words += ["--per-member", str(per_member)]
    if url is not None:
        words += ["--url", url]
    timeout_s = 120 + transfers / 1_000_000 * FILL_S_PER_MILLION
    results: list[dict[str, Any]] = _run(words, directory, timeout_s)
    return results


def _run(words: list[str], directory: Path | None, timeout_s: float) -> Any:
    command = [sys.executable, "-m", *words]
    if directory is not None:
        command += ["--dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{words} failed: {done.stdout}{done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def table(results: list[dict[str, Any]], columns: Sequence[tuple[str, str]]) -> str:
    """A row for each result."""
    rows = [[name for name, _ in columns]]
    rows += [[str(result[key]) for _, key in columns] for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
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
    parser.add_argument("--debits", action="store_true", help="debits that somebody waits for")
    parser.add_argument("--clients", type=int, default=32, help="who wait at a time, for --debits")
    parser.add_argument("--ledger", type=int, metavar="TRANSFERS", help="a ledger of so many")
    parser.add_argument("--per-member", type=int, default=500, help="of them, for --ledger")
    parser.add_argument("--url", help="another database than SQLite, empty")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.ledger:
        results = soak_ledger(options.ledger, options.per_member, options.dir, options.url)
        print(table(results, LEDGER_COLUMNS))
    elif options.debits:
        results = soak_debits(options.clients, options.seconds, options.dir, options.url)
        print(table(results, DEBIT_COLUMNS))
    else:
        if options.url and len(options.sessions) > 1:
            parser.error("--url is one empty database: give one number of sessions")
        results = [soak(n, options.seconds, options.dir, options.url) for n in options.sessions]
        print(table(results, COLUMNS))
        for name, value in results[0]["machine"].items():
            print(f"{name:>12}  {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
