"""A real coturn for the length of a test, with the settings that the manual recommends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.netns import ADDRESS, Namespace

PORT = 3478
SECRET = "shared-with-coturn-in-tests"
START_WAIT_S = 20


@dataclass(frozen=True)
class Coturn:
    """`log` is what it prints: who allocated, and which peers it let through."""

    log: Path

    @property
    def said(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace")


def relaying_config(folder: Path, *transports: str) -> Path:
    """A server configuration whose pages send and receive through the relay only."""
    urls = ", ".join(f'"turn:{ADDRESS}:{PORT}?transport={transport}"' for transport in transports)
    file = folder / "relaying.toml"
    file.write_text(
        f'[ice]\nturn_urls = [{urls}]\nturn_secret = "{SECRET}"\ntransport_policy = "relay"\n'
    )
    return file


@asynccontextmanager
async def coturn(net: Namespace, folder: Path, *, secret: str = SECRET) -> AsyncIterator[Coturn]:
    """Relays from the namespace's address to that address, and to no other."""
    log = folder / "coturn.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *net.prefix,
            "turnserver",
            "-n",  # no file of the machine's own
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--fingerprint",
            "--use-auth-secret",
            f"--static-auth-secret={secret}",
            "--realm=parlour",
            f"--listening-ip={ADDRESS}",
            f"--relay-ip={ADDRESS}",
            f"--listening-port={PORT}",
            "--no-multicast-peers",
            "--no-tcp-relay",
            "--denied-peer-ip=0.0.0.0-255.255.255.255",
            f"--allowed-peer-ip={ADDRESS}",
            f"--pidfile={folder / 'coturn.pid'}",
            f"--userdb={folder / 'coturn.db'}",
            "--log-file=stdout",
            "--verbose",
            stdout=output,
            stderr=output,
        )
    made = Coturn(log)
    try:
        async with asyncio.timeout(START_WAIT_S):
            while "Relay address to use" not in made.said and "opened on" not in made.said:
                assert process.returncode is None, made.said
                await asyncio.sleep(0.1)
        yield made
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
