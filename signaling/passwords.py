"""Password hashing with argon2id, off the event loop and at most a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from signaling.problem import Problem

R = TypeVar("R")

THREADS = 2
"""Each hash takes 64 MiB for some 50 ms; two at a time bound memory and leave a core free."""
QUEUE_MAX = 32
"""Some two seconds of waiting; more is refused at once instead of piling up."""
NOBODYS = "nobody has this password"
PASSWORD_CHARS_MIN = 8
PASSWORD_CHARS_MAX = 128
_COMMON = """
12345678 123456789 1234567890 password password1 passord1 passord123 qwerty123 qwertyuiop 11111111
00000000 iloveyou 1q2w3e4r sunshine1 princess1 football1 letmein1 welcome1 abc12345 password123
admin123 trustno1 87654321 baseball1 superman1 parlour1
"""
COMMON = frozenset(_COMMON.split())


class Passwords:
    """Hashes and checks passwords; refuses with 503 when too many wait."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody = ""

    async def warm(self) -> None:
        """Make what is checked when the account does not exist, so that both answers take as long.

        A server does it before it listens; the command line seldom needs it.
        """
        if not self._nobody:
            self._nobody = await self.hash(NOBODYS)

    async def hash(self, password: str) -> str:
        """The argon2id hash to keep, with its parameters and salt in it."""
        return await self._in_thread(self._hasher.hash, password)

    async def matches(self, kept_hash: str | None, password: str) -> bool:
        """Whether the password is right; for an unknown account the same work is done."""
        await self.warm()
        right = await self._in_thread(self._verify, kept_hash or self._nobody, password)
        return right and kept_hash is not None

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, kept_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., R], *arguments: str) -> R:
        if self._waiting >= QUEUE_MAX:
            raise Problem(
                503, "busy", "Too many people are signing in.", headers={"Retry-After": "2"}
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1


def weakness(password: str, username: str) -> str | None:
    """Why a password is refused, for its owner to read, or None if it will do (NIST 800-63B)."""
    if len(password) < PASSWORD_CHARS_MIN:
        return f"Use at least {PASSWORD_CHARS_MIN} characters."
    if len(password) > PASSWORD_CHARS_MAX:
        return f"Use at most {PASSWORD_CHARS_MAX} characters."
    if password.lower() in COMMON or username.casefold() in password.casefold():
        return "That password is too easy to guess."
    return None
