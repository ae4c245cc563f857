"""Disks of a test's own that fail on demand: full, read-only, or without an answer.

Mounted below the test's directory and unmounted at its end; needs root.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import pytest

TMPFS_MIB = 8
TURN_MAX_S = 10.0
EXT4_MIB = 16
FREEZE_MAX_S = 20
"""A frozen disk thaws by itself after this, whatever becomes of the test."""
FREEZER = """
while read word; do
    while [ "$word" = freeze ]; do
        fsfreeze -f "$1" && echo freeze && word=
        read -t "$2" word
        fsfreeze -u "$1"
    done
    echo "$word"
done
"""
"""Started with the disk: a process that starts stops the one that starts it for a moment."""
BLOCK = bytes(4096)
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: it mounts a file system of its own"
)


class Disk:
    """A mounted file system."""

    def __init__(
        self, folder: Path, kind: Literal["tmpfs", "ext4"], tmpfs_mib: int = TMPFS_MIB
    ) -> None:
        self.path = folder / f"disk-{kind}"
        self._kind = kind
        self._tmpfs_mib = tmpfs_mib
        self._image = folder / "disk.img"
        self._device = ""
        self._freezer: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Make it, or find what was on it."""
        self.path.mkdir(exist_ok=True)
        if self._kind == "tmpfs":
            words = ["-t", "tmpfs", "-o", f"size={self._tmpfs_mib}m", "parlour-test"]
        else:
            if not self._image.exists():
                with self._image.open("wb") as image:
                    image.truncate(EXT4_MIB << 20)
                _run("mkfs.ext4", "-q", str(self._image))
            words = ["-t", "ext4", "-o", "loop,errors=remount-ro", str(self._image)]
        _run("mount", *words, str(self.path))
        if self._kind == "ext4":
            self._device = Path(_output("findmnt", "-no", "SOURCE", str(self.path))).name
            self._freezer = subprocess.Popen(
                ["bash", "-c", FREEZER, "freezer", str(self.path), str(FREEZE_MAX_S)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    def unmount(self) -> None:
        """Nothing of it stays mounted."""
        if self._freezer is not None:
            self._freezer.communicate(timeout=FREEZE_MAX_S)
            self._freezer = None
        _run("umount", "--lazy", str(self.path))

    def check(self) -> None:
        """What an operator does with a disk that made errors; 1: mended."""
        done = subprocess.run(["e2fsck", "-f", "-y", str(self._image)], capture_output=True)
        assert done.returncode in (0, 1), done.stdout

    def sync(self) -> None:
        """What was written so far is safe."""
        _run("sync", "--file-system", str(self.path))

    def fill(self) -> None:
        """Not a byte is left."""
        ballast = os.open(self.path / "ballast", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while True:
                os.write(ballast, BLOCK)
        except OSError:
            pass
        finally:
            os.close(ballast)

    def fill_under(self, database: Path) -> None:
        """The same, in a moment in which SQLite's log has no room of its own.

        A log that begins anew is written into the room that it has, and needs none of the disk.
        """
        log = database.with_name(f"{database.name}-wal")
        with closing(sqlite3.connect(database, TURN_MAX_S, isolation_level=None)) as connection:
            while True:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                connection.execute("BEGIN IMMEDIATE")
                if log.stat().st_size == 0:
                    break
                connection.execute("ROLLBACK")  # somebody wrote in between
            self.fill()
            connection.execute("ROLLBACK")

    def free(self) -> None:
        """The ballast goes."""
        (self.path / "ballast").unlink()

    def fail(self) -> None:
        """The kernel finds an error in it and makes it read-only, under the open files."""
        (Path("/sys/fs/ext4") / self._device / "trigger_fs_error").write_text("a test's own disk")

    def freeze(self) -> None:
        """No write ends, no flush ends, until it thaws."""
        self._tell("freeze")

    def thaw(self) -> None:
        """All that waited goes on."""
        self._tell("thaw")

    def _tell(self, word: str) -> None:
        assert self._freezer is not None
        assert self._freezer.stdin is not None
        assert self._freezer.stdout is not None
        self._freezer.stdin.write(f"{word}\n".encode())
        self._freezer.stdin.flush()
        assert self._freezer.stdout.readline() == f"{word}\n".encode()


@contextmanager
def mounted(
    folder: Path, kind: Literal["tmpfs", "ext4"], tmpfs_mib: int = TMPFS_MIB
) -> Iterator[Disk]:
    """A fresh one for as long as it is needed."""
    disk = Disk(folder, kind, tmpfs_mib)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def _output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
