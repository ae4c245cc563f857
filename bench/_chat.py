"""Fills rooms with chat before a measurement: guests come in, say their lines, and leave."""

from __future__ import annotations

import aiohttp

LINES_PER_GUEST = 5
"""What a guest may say at once before the flood limit."""
GUESTS_PER_ADDRESS = 10
"""Guests are limited per address; each group comes from a loopback address of its own."""
PRESET = "hello"


async def fill(url: str, rooms: list[str], lines: int) -> None:
    """`lines` chat lines in each of these rooms; RuntimeError when the server refuses one."""
    guests = 0
    for room in rooms:
        for start in range(0, lines, LINES_PER_GUEST):
            guests += 1
            address = f"127.0.2.{guests // GUESTS_PER_ADDRESS + 1}"
            await _say(url, room, min(LINES_PER_GUEST, lines - start), address)


async def _say(url: str, room: str, lines: int, address: str) -> None:
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.post(f"{url}/api/v1/ws-ticket", json={}) as response:
            ticket = (await response.json())["ticket"]
        async with http.ws_connect(f"{url}/ws", protocols=["parlour.v1"]) as socket:
            await socket.send_json({"type": "hello", "ticket": ticket, "id": 1})
            await _answer(socket, 1)
            await socket.send_json({"type": "room.enter", "expert": room, "id": 2})
            await _answer(socket, 2)
            for number in range(3, 3 + lines):
                await socket.send_json({"type": "chat.preset", "preset": PRESET, "id": number})
                await _answer(socket, number)


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> None:
    while True:
        message = await socket.receive_json()
        if message["type"] == "error":
            raise RuntimeError(f"the server refuses: {message}")
        if message.get("id") == number:
            return
