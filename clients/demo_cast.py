"""The demo's experts: for each, a publisher and a host, all in one process beside the server.

`python -m clients.demo_cast` reads one line of JSON, a `Cast`, from its standard input (keys and
passwords do not belong into a command line) and performs until that input is closed, so that the
cast never outlives the server that started it. Everything goes over the public API.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import msgspec
import uvloop

from clients._failures import EXIT_OK, EXIT_USAGE, ClientFailure
from clients.demo_host import HostOptions, Say, host
from clients.publish import PublishOptions, publish
from signaling.wire import Language

JOB_BYTES_MAX = 64 * 1024


class CastMember(msgspec.Struct, frozen=True, kw_only=True):
    """One expert: the room's name, its stream key, and the account that opens the room."""

    expert: str
    stream_key: str
    username: str
    password: str
    language: Language = "en"


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """`server_url` is the origin of the server, e.g. http://127.0.0.1:8080."""

    server_url: str
    members: list[CastMember]
    insecure: bool = False
    """Take any certificate: the server signed its own."""


async def perform(cast: Cast, *, stop: asyncio.Event, say: Say) -> None:
    """Publish and be host for everybody until `stop`; one who fails for good is named and left."""
    async with asyncio.TaskGroup() as group:
        for member in cast.members:
            group.create_task(_publish(cast, member, stop, say))
            group.create_task(_host(cast, member, stop, say))


async def _publish(cast: Cast, member: CastMember, stop: asyncio.Event, say: Say) -> None:
    options = PublishOptions(
        input=f"test:{member.expert}",
        whip_url=f"{cast.server_url}/whip/{member.expert}",
        key=member.stream_key,
        insecure=cast.insecure,
    )
    try:
        await publish(options, stop=stop, say=lambda text: say(f"{member.expert}: {text}"))
    except ClientFailure as failure:
        say(f"{member.expert} is not on air: {failure}")


async def _host(cast: Cast, member: CastMember, stop: asyncio.Event, say: Say) -> None:
    options = HostOptions(
        server_url=cast.server_url,
        expert=member.expert,
        username=member.username,
        password=member.password,
        language=member.language,
        insecure=cast.insecure,
    )
    try:
        await host(options, stop=stop, say=say)
    except ClientFailure as failure:
        say(f"{member.expert} does not answer: {failure}")


async def _until_input_ends(cast: Cast, rest: asyncio.StreamReader) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Ctrl-C reaches the whole process group; the server decides when the cast is to end.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    async def watch_input() -> None:
        while await rest.read(JOB_BYTES_MAX):
            continue
        stop.set()

    watching = asyncio.create_task(watch_input())
    try:
        await perform(cast, stop=stop, say=_say)
    finally:
        watching.cancel()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _main() -> int:
    reader = asyncio.StreamReader(limit=JOB_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        cast = msgspec.json.decode(await reader.readline(), type=Cast)
    except (msgspec.DecodeError, ValueError) as error:
        _say(f"demo cast: no readable job on standard input: {error}")
        return EXIT_USAGE
    await _until_input_ends(cast, reader)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(uvloop.run(_main()))
