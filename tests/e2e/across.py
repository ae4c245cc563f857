"""A server and its visitors in two network namespaces, with a cable between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.harness import Server, running_server
from tests.e2e.netns import SERVER_ADDRESS, Namespace, cable
from tests.e2e.people import EXPERT, MEMBER


@asynccontextmanager
async def across_a_cable(folder: Path) -> AsyncIterator[tuple[Server, Namespace, Namespace]]:
    """A server with TLS, since cameras need it; its end of the cable, and the visitors' end."""
    async with (
        cable(folder) as (at_server, at_browser),
        running_server(
            folder / "data",
            "--tls",
            "self-signed",
            http=f"{SERVER_ADDRESS}:0",
            media=f"{SERVER_ADDRESS}:0",
            prefix=at_server.prefix,
        ) as server,
    ):
        server.expert(EXPERT, "--cam2cam", "--two-way-audio")
        server.member(MEMBER, "20")
        yield server, at_server, at_browser
