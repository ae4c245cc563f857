"""Live thumbnails: made of what is free and looked at, and never of private media."""

import asyncio

from media.api import SourceStale
from media.still import Still
from rooms.airing import stream_source
from rooms.limits import NS_PER_S, THUMBNAIL_ASKED_NS, THUMBNAIL_NS, THUMBNAIL_RETRY_NS
from rooms.thumbnails import Thumbnail
from tests.rooms.world import World

LUNA = stream_source("luna")
FREE, PRIVATE = Still("vp8", b"free"), Still("vp8", b"private")


class Decoder:
    """Gives the still itself back; remembers what it was handed; may be held back."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.go_on: asyncio.Event | None = None

    async def picture(self, still: Still) -> bytes | None:
        self.seen.append(still.data)
        if self.go_on is not None:
            await self.go_on.wait()
        return still.data


def shown(world: World) -> bytes | None:
    thumbnail = world.house.thumbnails.ask("luna")
    return thumbnail.webp if isinstance(thumbnail, Thumbnail) else None


async def test_a_picture_is_made_once_somebody_asks_and_renewed_while_they_do(
    world: World,
) -> None:
    await world.live_expert()
    decoder, thumbnails = Decoder(), world.house.thumbnails
    world.media.stills[LUNA] = FREE
    await thumbnails.step(decoder)
    assert decoder.seen == []
    assert shown(world) is None
    await thumbnails.step(decoder)
    assert shown(world) == b"free"
    await thumbnails.step(decoder)
    assert len(decoder.seen) == 1
    world.clock.now_ns += THUMBNAIL_NS
    await thumbnails.step(decoder)
    assert len(decoder.seen) == 2
    world.clock.now_ns += THUMBNAIL_ASKED_NS + 1
    await thumbnails.step(decoder)
    assert len(decoder.seen) == 2


async def test_without_a_keyframe_it_is_tried_again_soon(world: World) -> None:
    await world.live_expert()
    decoder, thumbnails = Decoder(), world.house.thumbnails
    shown(world)
    await thumbnails.step(decoder)
    await thumbnails.step(decoder)
    assert world.media.log.count(f"still {LUNA}") == 1
    world.media.stills[LUNA] = FREE
    world.clock.now_ns += THUMBNAIL_RETRY_NS
    await thumbnails.step(decoder)
    assert shown(world) == b"free"


async def test_private_media_never_reaches_the_decoder(world: World) -> None:
    """Asked for and stepped all the time, through the whole session; free again, it works again."""
    decoder, thumbnails = Decoder(), world.house.thumbnails
    expert, member = await world.live_expert(), world.member()
    world.media.stills[LUNA] = FREE
    shown(world)
    await thumbnails.step(decoder)
    assert shown(world) == b"free"
    await world.active(member, expert)
    world.media.stills[LUNA] = PRIVATE
    world.media.log.clear()
    for _ in range(30):
        await thumbnails.step(decoder)
        assert shown(world) is None
        world.clock.now_ns += NS_PER_S // 2
    assert f"still {LUNA}" not in world.media.log
    assert decoder.seen == [b"free"]


async def test_the_picture_is_gone_when_the_private_session_begins(world: World) -> None:
    """Forgotten, not just hidden, though nobody asks meanwhile."""
    decoder, thumbnails = Decoder(), world.house.thumbnails
    expert, member = await world.live_expert(), world.member()
    world.media.stills[LUNA] = FREE
    shown(world)
    await thumbnails.step(decoder)
    await world.active(member, expert)
    assert thumbnails._cards == {}


async def test_a_picture_in_the_making_is_dropped_when_the_stream_was_cut(world: World) -> None:
    """Also when the room is free again by the time that the decoder answers."""
    decoder, thumbnails = Decoder(), world.house.thumbnails
    decoder.go_on = asyncio.Event()
    await world.live_expert()
    world.media.stills[LUNA] = FREE
    shown(world)
    making = asyncio.ensure_future(thumbnails.step(decoder))
    await world.settle()
    world.house.airing.clear_rows("luna")
    assert shown(world) is None  # somebody asks again: a new card of the same expert
    thumbnails._cards["luna"].due_ns += 10 * NS_PER_S
    decoder.go_on.set()
    await making
    assert shown(world) is None


async def test_offline_and_stale_streams_show_nothing(world: World) -> None:
    decoder, thumbnails = Decoder(), world.house.thumbnails
    expert = await world.live_expert()
    world.media.stills[LUNA] = FREE
    shown(world)
    await thumbnails.step(decoder)
    world.house.on_media(SourceStale(LUNA, 0))
    assert shown(world) is None
    world.house.go_offline(expert)
    assert shown(world) is None
    await thumbnails.step(decoder)
    assert len(decoder.seen) == 1
