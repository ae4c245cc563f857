"""kill -9 of the mailer at each word of a delivery: nothing is lost, a double is the same mail."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import pytest

from billing_meter import outbox

servers = importlib.import_module("tests.signaling.mail_server")
mailing = importlib.import_module("tests.signaling.post_office")
REPO = Path(__file__).resolve().parents[2]
VICTIM_S = 30.0


class Killer(servers.MailServer):
    """Kills its client at one word of the dialogue, the first time it gets there."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.victim: asyncio.subprocess.Process | None = None

    async def kill_at(self, word: str) -> bool:
        if word != self.word or self.victim is None:
            return False
        victim, self.victim = self.victim, None
        victim.kill()
        await victim.wait()
        return True

    async def handle_RCPT(self, server, session, envelope, address, options):
        await self.kill_at("RCPT")
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server, session, envelope):
        if await self.kill_at("before it is taken"):
            return "451 nobody hears this"
        answer = await super().handle_DATA(server, session, envelope)
        await self.kill_at("taken, and not heard")
        return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "doubled"),
    [("RCPT", False), ("before it is taken", False), ("taken, and not heard", True)],
)
async def test_a_killed_mailer_loses_nothing(door, monkeypatch, word, doubled) -> None:
    killer = Killer(word)
    monkeypatch.setattr(servers, "MailServer", lambda: killer)
    async with servers.mail_server() as server:
        post = mailing.Post(door, server)
        await post.buy(await post.member())
        killer.victim = victim = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.signaling.mailer_victim",
            door.config.database_url,
            str(server.port),
            cwd=REPO,
        )
        async with asyncio.timeout(VICTIM_S):
            assert await victim.wait() == -9
        row = await post.row()
        assert (row["state"], row["tries"]) == ("waiting", 1)
        assert await post.mailer.deliver_due() == 0  # the dead one's claim is respected
        post.advance(milliseconds=outbox.CLAIM_MS)
        assert await post.mailer.deliver_due() == 1
        assert (await post.row())["state"] == "sent"
        assert len(server.taken) == 1 + doubled
        assert len({taken.message["Message-ID"] for taken in server.taken}) == 1
        assert len({taken.content for taken in server.taken}) == 1
