"""The meter under load: many private sessions ticking on one database, with synthetic media.

    python -m bench.meter [--sessions 1000 10000] [--store sqlite postgresql] [--seconds 30]
                          [--dir DIR] [--json result.json]

Each size and store runs in a process of its own, on the real till with the real ledger; a
PostgreSQL server is started for the run, with its files on the disk of `--dir`. Reported are how
long the one transaction of a tick takes and how much of that is the commit itself, how long a small
flush takes on that disk meanwhile, how late the event loop is, and the CPU's share.

With `--debits` it is the debits that somebody waits for instead (`billing_meter.soak_debits`), over
the counter and, as the peer of the same run, with a transaction for each.

With `--ledger 10000000` it is a ledger of so many transfers (`billing_meter.soak_ledger`), which
the database fills by itself, into a file that is removed afterwards (6 GB): how long a balance and
a page of history take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import postgres

STORES = ("sqlite", "postgresql")
SERVER = {
    "shared_buffers": "128MB",
    "wal_level": "replica",
    "autovacuum": "on",
    "max_connections": "100",
    "min_wal_size": "1GB",
}
"""As a server comes, not as tests have it; its log's files are kept for what is written next."""
SWITCH = "SELECT pg_switch_wal()"
WAL_FILES = 40
"""Of 16 MiB: a server that has run for a while need not make new ones, which takes 80 ms each."""
FILLING = {
    "wal_level": "minimal",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "512MB",
}
"""For a large ledger, which nobody waits for while it is filled."""

COLUMNS = (
    ("store", "store"),
    ("sessions", "sessions"),
    ("ticks", "ticks"),
    ("tick p50 ms", "tick_commit_ms_p50"),
    ("p99", "tick_commit_ms_p99"),
    ("commit p50 ms", "flush_ms_p50"),
    ("p99", "flush_ms_p99"),
    ("of tick", "flush_share"),
    ("disk p50 ms", "disk_flush_ms_p50"),
    ("p99", "disk_flush_ms_p99"),
    ("lag p50 ms", "loop_lag_ms_p50"),
    ("p99", "loop_lag_ms_p99"),
    ("max", "loop_lag_ms_max"),
    ("open p50 ms", "open_ms_p50"),
    ("p99", "open_ms_p99"),
    ("CPU", "cpu_share"),
    ("server's", "server_cpu_share"),
    ("lost", "sessions_lost"),
    ("books clean", "books_clean"),
)
START_S_PER_SESSION = 0.05
"""Filling, opening and, in the end, closing and judging them."""


DEBIT_COLUMNS = (
    ("store", "store"),
    ("way", "way"),
    ("debits/s", "debits_per_s"),
    ("p50 ms", "wait_ms_p50"),
    ("p99 ms", "wait_ms_p99"),
    ("max ms", "wait_ms_max"),
    ("CPU share", "cpu_share"),
    ("CPU µs each", "cpu_us_each"),
)


LEDGER_COLUMNS = (
    ("store", "store"),
    ("pages", "pages"),
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's database is: an empty directory, and a server's address if it needs one."""

    store: str
    directory: Path
    url: str | None = None
    server_pid: int | None = None

    def words(self) -> list[str]:
        """For the command line of the process that is measured."""
        words = ["--dir", str(self.directory)]
        if self.url is not None:
            words += ["--url", self.url]
        return words


@contextmanager
def place(
    store: str, directory: Path | None, url: str | None, settings: dict[str, str]
) -> Iterator[Place]:
    """A fresh database of its own, removed afterwards; or somebody's own server."""
    if url is not None:
        yield Place(store, directory or Path(tempfile.gettempdir()), url)
        return
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parlour-bench-", dir=directory) as folder:
        path = Path(folder)
        if store == "sqlite":
            yield Place(store, path)
            return
        path.chmod(0o755)  # the server is not run as root
        with postgres.running_cluster(path, **settings) as cluster:
            name = asyncio.run(_run_in(cluster))
            yield Place(store, path, cluster.url(name), cluster.pid)


async def _run_in(cluster: postgres.Cluster) -> str:
    """The state of a server that has run for a while; the name of an empty database."""
    name = await cluster.create("template0", "")
    for _ in range(WAL_FILES):
        await cluster.command("SELECT pg_logical_emit_message(FALSE, 'run', 'in')", SWITCH)
    await cluster.command("CHECKPOINT")
    return name


def soak(where: Place, sessions: int, seconds: float) -> dict[str, Any]:
    """Run one size in a fresh process; raises when it fails or its books do not add up."""
    words = ["billing_meter.soak", "--json", "--sessions", str(sessions)]
    words += ["--seconds", str(seconds), *where.words()]
    if where.server_pid is not None:
        words += ["--server-pid", str(where.server_pid)]
    timeout_s = 180 + 2 * seconds + sessions * START_S_PER_SESSION
    result: dict[str, Any] = _run(words, timeout_s)
    return result


def soak_debits(where: Place, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both ways of debiting on one ledger, in a fresh process."""
    words = ["billing_meter.soak_debits", "--clients", str(options.clients)]
    words += ["--rate", str(options.rate), "--seconds", str(options.seconds), *where.words()]
    results: list[dict[str, Any]] = _run(words, 120 + 6 * options.seconds)
    return results


def soak_ledger(where: Place, transfers: int, per_member: int) -> list[dict[str, Any]]:
    """Questions to a large ledger, in a fresh process."""
    words = ["billing_meter.soak_ledger", "--transfers", str(transfers)]
    words += ["--per-member", str(per_member), *where.words()]
    timeout_s = 120 + transfers / 1_000_000 * FILL_S_PER_MILLION
    results: list[dict[str, Any]] = _run(words, timeout_s)
    return results


def _run(words: list[str], timeout_s: float) -> Any:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"{words} failed: {done.stdout}{done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def table(results: list[dict[str, Any]], columns: Sequence[tuple[str, str]]) -> str:
    """A row for each result."""
    rows = [[name for name, _ in columns]]
    rows += [[str(result.get(key, "")) for _, key in columns] for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def measured(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """The results of each run as it ends."""
    stores = ["postgresql"] if options.url else options.store
    settings = SERVER | FILLING if options.ledger else SERVER
    for store in stores:
        for sessions in [0] if options.ledger or options.debits else options.sessions:
            with place(store, options.dir, options.url, settings) as where:
                if options.ledger:
                    results = soak_ledger(where, options.ledger, options.per_member)
                elif options.debits:
                    results = soak_debits(where, options)
                else:
                    results = [soak(where, sessions, options.seconds)]
            yield [{"store": store} | result for result in results]


def main() -> None:
    """Print the table, and with `--json` write all figures with machine and versions."""
    parser = argparse.ArgumentParser(description="Many private sessions on the real till.")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1_000])
    parser.add_argument("--store", nargs="+", choices=STORES, default=["sqlite"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--dir", type=Path, help="where the database's files go")
    parser.add_argument("--debits", action="store_true", help="debits that somebody waits for")
    parser.add_argument("--clients", type=int, default=32, help="who wait at a time, for --debits")
    parser.add_argument("--rate", type=int, default=2_000, help="who come in a second, too")
    parser.add_argument("--ledger", type=int, metavar="TRANSFERS", help="a ledger of so many")
    parser.add_argument("--per-member", type=int, default=500, help="of them, for --ledger")
    parser.add_argument("--url", help="an empty database of a running PostgreSQL server")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.url and len(options.sessions) > 1:
        parser.error("--url is one empty database: give one number of sessions")
    columns: Sequence[tuple[str, str]] = COLUMNS
    if options.ledger or options.debits:
        columns = LEDGER_COLUMNS if options.ledger else DEBIT_COLUMNS
    results = [result for some in measured(options) for result in some]
    print(table(results, columns))
    for name, value in results[0].get("machine", {}).items():
        print(f"{name:>12}  {value}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
