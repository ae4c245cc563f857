"""A webcam expert sends layers; a viewer's layer follows the size of its picture, and no freeze.

In Firefox: `test_firefox.py`.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import chromium, person, running_server
from tests.e2e.page_media import follows_the_players_size
from tests.e2e.people import EXPERT, enter_room, go_live


async def test_a_chromium_viewers_layer_follows_its_players_size(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, chromium() as browser:
        server.expert(EXPERT)
        async with (
            person(browser, server, small_camera=False) as expert,
            person(browser, server) as guest,
        ):
            await go_live(expert)
            await enter_room(guest)
            await follows_the_players_size(guest)
