"""The live thumbnail over HTTP: there, unchanged, absent, gone."""

from rooms.thumbnails import Thumbnail, _Card


async def test_a_picture_is_served_with_its_tag_and_gone_with_the_stream(door, problem) -> None:
    account, _ = await door.expert("luna")
    client, path = door.client(), "/api/v1/experts/luna/thumbnail"
    assert await problem(await client.get(path)) == (404, "no_thumbnail")
    assert (await client.get(f"{path}?none=204")).status == 204
    unknown = await client.get("/api/v1/experts/nobody/thumbnail")
    assert await problem(unknown) == (404, "no_such_expert")
    house = door.services.house
    house.floor.room(account.account_id).presence.media(True)
    assert await problem(await client.get(path)) == (404, "no_thumbnail")
    house.thumbnails._cards[account.account_id] = _Card(0, 1 << 62, Thumbnail(b"webp", "tag"))
    reply = await client.get(path)
    assert (reply.status, reply.content_type, await reply.read()) == (200, "image/webp", b"webp")
    assert reply.headers["ETag"] == '"tag"'
    assert reply.headers["Cache-Control"] == "no-cache"
    assert (await client.get(path, headers={"If-None-Match": '"tag"'})).status == 304
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status == 200
    house.airing.clear_rows(account.account_id)
    assert await problem(await client.get(path)) == (404, "no_thumbnail")
