"""WHIP and WHEP: status codes, headers, refusals; the media plane is scripted here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from media.api import Answer, Direction, IceDescription, IceParameters, Kind
from media.sdp_frag import parse_fragment
from rooms.airing import Connected
from rooms.refusals import Code, Refusal
from rooms.ways import Way
from signaling import routing
from signaling.experts import Experts

OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"
SDP = {"Content-Type": "application/sdp"}


CREDENTIALS = "a=ice-ufrag:again\r\na=ice-pwd:0123456789abcdef012345\r\n"
HOST = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
TRICKLED = f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{HOST}"
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


def ice_session(number: int, remote_ufrag: str) -> IceDescription:
    candidates = ("1 1 udp 2130706431 192.0.2.9 8189 typ host",)
    return IceDescription(
        f"etag-{number}", "p" * 32, candidates, remote_ufrag, Kind.AUDIO, ("0", "1")
    )


class ScriptedWays:
    """One peer, known as `res-1` to everybody, until it is gone."""

    def __init__(self) -> None:
        self.now: IceDescription | None = ice_session(1, "first")
        self.gone_at_restart = False
        self.looked = asyncio.Event()

    def of_encoder(self, expert_id: str, resource: str) -> Way | None:
        return Way(Direction.PUBLISH, expert_id, "peer-1") if resource == "res-1" else None

    of_player = of_encoder

    def session(self, way: Way) -> IceDescription | None:
        self.looked.set()
        return self.now

    def restart(self, way: Way, remote: IceParameters) -> IceDescription | None:
        self.now = None if self.gone_at_restart else ice_session(2, remote.ufrag)
        return self.now


@dataclass
class ScriptedHouse:
    """Answers as it is told, and writes down what it was asked."""

    outcome: Connected | Refusal
    asked: list[tuple[str, str]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    ways: ScriptedWays = field(default_factory=ScriptedWays)

    async def publish_encoder(self, expert_id: str, sdp: str) -> Connected | Refusal:
        self.asked.append((expert_id, sdp))
        return self.outcome

    async def watch_public(self, expert_name: str, sdp: str) -> Connected | Refusal:
        self.asked.append((expert_name, sdp))
        return self.outcome

    def end_encoder(self, expert_id: str, resource: str) -> bool:
        self.ended.append((expert_id, resource))
        return resource == "res-1"

    def end_public(self, expert_name: str, resource: str) -> bool:
        return self.end_encoder(expert_name, resource)


@pytest.fixture
async def expert(door):
    """An expert, their stream key as header, and the scripted house."""
    account, key = await door.expert("luna")
    house = ScriptedHouse(Connected(Answer("v=0\r\nanswer", "peer-1", "etag-1"), "res-1"))
    real, door.services.house = door.services.house, house
    yield account, {"Authorization": f"Bearer {key}"}, house
    door.services.house = real


async def test_whip_answer_is_what_encoders_need(door, expert) -> None:
    account, key, house = expert
    reply = await door.client().post("/whip/luna", data=OFFER, headers=SDP | key)
    assert reply.status == 201
    assert reply.headers["Content-Type"] == "application/sdp"
    assert reply.headers["Location"] == "/whip/luna/res-1"
    assert reply.headers["ETag"] == '"etag-1"'
    assert reply.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Location" in reply.headers["Access-Control-Expose-Headers"]
    assert "Link" not in reply.headers
    assert await reply.text() == "v=0\r\nanswer"
    assert house.asked == [(account.account_id, OFFER)]


async def test_whip_delete_is_200_and_only_with_the_key(door, expert, problem) -> None:
    account, key, house = expert
    _, other_key = await door.expert("orion")
    other = {"Authorization": f"Bearer {other_key}"}
    client = door.client()
    assert await problem(await client.delete("/whip/luna/res-1")) == (401, "stream_key_missing")
    reply = await client.delete("/whip/luna/res-1", headers=other)
    assert await problem(reply) == (403, "stream_key_wrong")
    assert house.ended == []
    reply = await client.delete("/whip/luna/guessed", headers=key)
    assert await problem(reply) == (404, "not_found")
    reply = await client.delete("/whip/luna/res-1", headers=key)
    assert reply.status == 200
    assert house.ended[-1] == (account.account_id, "res-1")


async def test_whip_keys(door, expert, problem) -> None:
    _, key, house = expert
    client = door.client()
    for path, headers, refusal in (
        ("/whip/luna", {}, (401, "stream_key_missing")),
        ("/whip/luna", {"Authorization": "Basic abc"}, (401, "stream_key_missing")),
        ("/whip/luna", {"Authorization": "Bearer "}, (401, "stream_key_missing")),
        ("/whip/luna", {"Authorization": "Bearer sk_wrong"}, (403, "stream_key_wrong")),
        ("/whip/nobody", key, (403, "stream_key_wrong")),
    ):
        reply = await client.post(path, data=OFFER, headers=SDP | headers)
        assert await problem(reply) == refusal
        challenge = reply.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer")
        assert ("invalid_token" in challenge) == (refusal[0] == 403)
    assert house.asked == []


async def test_an_expert_added_beside_the_server_may_publish_at_once(door, expert) -> None:
    """The command line writes the same store; the server's memory learns of it at the key."""
    known = door.services.experts
    beside = Experts(known._database, door.services.accounts, lambda: datetime.now(UTC))
    details = known.experts()[0]
    added = await beside.add("orion", None, details)
    assert isinstance(added, tuple)
    assert known.expert_by_name("orion") is None
    headers = SDP | {"Authorization": f"Bearer {added[1]}"}
    assert (await door.client().post("/whip/orion", data=OFFER, headers=headers)).status == 201


async def test_a_cookie_is_no_stream_key(door, expert, problem) -> None:
    client = await door.signed_in("luna")
    reply = await client.post("/whip/luna", data=OFFER, headers=SDP)
    assert await problem(reply) == (401, "stream_key_missing")


async def test_rotated_key_works_and_the_old_one_does_not(door, expert, problem) -> None:
    _, old, _ = expert
    client = await door.signed_in("luna")
    fresh = (await (await client.post("/api/v1/studio/stream-key")).json())["stream_key"]
    reply = await client.post("/whip/luna", data=OFFER, headers=SDP | old)
    assert await problem(reply) == (403, "stream_key_wrong")
    headers = SDP | {"Authorization": f"Bearer {fresh}"}
    assert (await client.post("/whip/luna", data=OFFER, headers=headers)).status == 201


@pytest.mark.parametrize(
    ("code", "status", "retry"),
    [
        (Code.BAD_SDP, 400, False),
        (Code.CODEC_UNSUPPORTED, 406, False),
        (Code.TOO_MANY_TRACKS, 406, False),
        (Code.ALREADY_PUBLISHING, 409, True),
        (Code.OVERLOADED, 503, True),
        (Code.SERVER_DRAINING, 503, True),
    ],
)
async def test_refusals_of_the_media_plane(
    door, expert, problem, code: Code, status: int, retry: bool
) -> None:
    _, key, house = expert
    house.outcome = Refusal(code, detail="The server takes VP8, H.264 and Opus.")
    reply = await door.client().post("/whip/luna", data=OFFER, headers=SDP | key)
    assert await problem(reply) == (status, code.value)
    assert "VP8" in (await reply.json(content_type=None))["detail"]
    assert ("Retry-After" in reply.headers) == retry
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


async def test_bodies_that_are_refused(door, expert, problem) -> None:
    _, key, house = expert
    client = door.client()
    for headers, data, refusal in (
        ({"Content-Type": "application/json"}, b"{}", (415, "wrong_content_type")),
        ({}, b"v=0", (415, "wrong_content_type")),
        (SDP | {"Content-Encoding": "gzip"}, b"x", (415, "wrong_content_encoding")),
        (SDP, b"\xff\xfe", (400, "bad_sdp")),
        (SDP, b"x" * (routing.BODY_BYTES_MAX + 1), (413, "too_large")),
    ):
        reply = await client.post("/whip/luna", data=data, headers=key | headers)
        assert await problem(reply) == refusal
    assert house.asked == []
    reply = await client.post("/whip/luna", data=b"{}", headers=key)
    assert reply.headers["Accept-Post"] == "application/sdp"


async def test_a_body_without_length_is_bounded_too(door, expert, problem) -> None:
    _, key, _ = expert

    async def endless():
        for _ in range(100):
            yield b"x" * 2048

    reply = await door.client().post("/whip/luna", data=endless(), headers=SDP | key)
    assert await problem(reply) == (413, "too_large")


async def test_a_body_that_never_comes_is_cut(door, expert, monkeypatch) -> None:
    _, key, _ = expert
    monkeypatch.setattr(routing, "BODY_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
    head = (
        "POST /whip/luna HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/sdp\r\n"
        f"Authorization: {key['Authorization']}\r\nContent-Length: 100\r\n\r\nv=0"
    )
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert b"408" in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_draining_takes_no_new_publisher(door, expert, problem) -> None:
    _, key, _ = expert
    door.services.draining = True
    reply = await door.client().post("/whip/luna", data=OFFER, headers=SDP | key)
    assert await problem(reply) == (503, "server_draining")


async def test_offers_are_limited_per_address(door, expert, problem) -> None:
    _, key, _ = expert
    client = door.client()
    statuses = [
        (await client.post("/whip/luna", data=OFFER, headers=SDP | key)).status for _ in range(60)
    ]
    assert statuses[:40] == [201] * 40
    assert 429 in statuses


@pytest.mark.parametrize("base", ["/whip/luna", "/whep/luna"])
async def test_methods_and_preflight(door, expert, problem, base: str) -> None:
    _, key, _ = expert
    client = door.client()
    reply = await client.options(base)
    assert reply.status == 200
    assert reply.headers["Accept-Post"] == "application/sdp"
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in reply.headers["Access-Control-Allow-Headers"]
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in reply.headers
    reply = await client.options(f"{base}/res-1")
    assert reply.headers["Allow"] == "PATCH, DELETE, OPTIONS"
    assert reply.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
    assert "PATCH" in reply.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in reply.headers["Access-Control-Allow-Headers"]
    for method in ("GET", "PUT", "PATCH", "HEAD"):
        assert (await client.request(method, base, headers=key)).status == 405
    for method in ("GET", "PUT", "POST"):
        assert (await client.request(method, f"{base}/res-1", headers=key)).status == 405


@pytest.mark.parametrize("base", ["/whip/luna", "/whep/luna"])
@pytest.mark.parametrize("etag", ['"etag-1"', "*", '"*"', '"other", "etag-1"'])
async def test_trickled_candidates_are_taken(door, expert, base: str, etag: str) -> None:
    _, key, house = expert
    before = house.ways.now
    headers = key | FRAGMENT | {"If-Match": etag}
    for body in (TRICKLED, TRICKLED + CREDENTIALS.replace("again", "first")):
        reply = await door.client().patch(f"{base}/res-1", data=body, headers=headers)
        assert reply.status == 204
        assert await reply.text() == ""
        assert "ETag" not in reply.headers
    assert house.ways.now is before


@pytest.mark.parametrize("base", ["/whip/luna", "/whep/luna"])
@pytest.mark.parametrize("etag", ['"*"', "*", '"etag-1"'])
async def test_new_credentials_restart_ice(door, expert, base: str, etag: str) -> None:
    _, key, house = expert
    reply = await door.client().patch(
        f"{base}/res-1", data=TRICKLED + CREDENTIALS, headers=key | FRAGMENT | {"If-Match": etag}
    )
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/trickle-ice-sdpfrag"
    assert reply.headers["ETag"] == '"etag-2"'
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in reply.headers["Access-Control-Expose-Headers"]
    answer = parse_fragment(await reply.text())
    assert (answer.ufrag, answer.password, answer.mids) == ("etag-2", "p" * 32, ["0"])
    assert len(answer.candidates) == 1
    assert house.ways.now.remote_ufrag == "again"
    # What belongs to the former ICE session comes too late now.
    headers = key | FRAGMENT | {"If-Match": '"etag-1"'}
    late = await door.client().patch(f"{base}/res-1", data=TRICKLED, headers=headers)
    assert late.status == 412


@pytest.mark.parametrize("base", ["/whip/luna", "/whep/luna"])
async def test_patches_that_are_refused_change_nothing(door, expert, problem, base: str) -> None:
    _, key, house = expert
    before, right = house.ways.now, {"If-Match": '"etag-1"'}
    for resource, headers, body, refusal in (
        ("guessed", FRAGMENT | right, TRICKLED, (404, "not_found")),
        ("res-1", FRAGMENT, TRICKLED, (428, "if_match_missing")),
        ("res-1", SDP | right, TRICKLED, (415, "wrong_content_type")),
        ("res-1", FRAGMENT | {"If-Match": '"other"'}, TRICKLED, (412, "ice_session_changed")),
        ("res-1", FRAGMENT | {"If-Match": 'W/"etag-1"'}, TRICKLED, (412, "ice_session_changed")),
        ("res-1", FRAGMENT | {"If-Match": ""}, CREDENTIALS, (412, "ice_session_changed")),
        ("res-1", FRAGMENT | right, "a=ice-ufrag:again", (400, "bad_sdpfrag")),
        ("res-1", FRAGMENT | right, "", (400, "bad_sdpfrag")),
        ("res-1", FRAGMENT | right, b"\xff\xfe", (400, "bad_sdpfrag")),
        ("res-1", FRAGMENT | right, b"a" * (routing.BODY_BYTES_MAX + 1), (413, "too_large")),
    ):
        reply = await door.client().patch(f"{base}/{resource}", data=body, headers=key | headers)
        assert await problem(reply) == refusal
        assert refusal[0] != 415 or reply.headers["Accept-Patch"] == FRAGMENT["Content-Type"]
    assert house.ways.now is before
    house.ways.gone_at_restart = True
    reply = await door.client().patch(
        f"{base}/res-1", data=CREDENTIALS, headers=key | FRAGMENT | right
    )
    assert await problem(reply) == (404, "not_found")


@pytest.mark.parametrize("base", ["/whip/luna", "/whep/luna"])
async def test_of_two_restarts_under_one_tag_the_slower_is_refused(
    door, expert, problem, base: str
) -> None:
    _, key, house = expert

    async def slowly() -> AsyncIterator[bytes]:
        yield CREDENTIALS[:10].encode()
        await house.ways.looked.wait()
        house.ways.now = ice_session(2, "faster")
        yield CREDENTIALS[10:].encode()

    headers = key | FRAGMENT | {"If-Match": '"etag-1"'}
    reply = await door.client().patch(f"{base}/res-1", data=slowly(), headers=headers)
    assert await problem(reply) == (412, "ice_session_changed")
    assert house.ways.now.remote_ufrag == "faster"


async def test_a_restart_needs_the_key(door, expert, problem) -> None:
    _, _, house = expert
    _, other_key = await door.expert("orion")
    headers = FRAGMENT | {"If-Match": "*"}
    client = door.client()
    reply = await client.patch("/whip/luna/res-1", data=CREDENTIALS, headers=headers)
    assert await problem(reply) == (401, "stream_key_missing")
    headers |= {"Authorization": f"Bearer {other_key}"}
    reply = await client.patch("/whip/luna/res-1", data=CREDENTIALS, headers=headers)
    assert await problem(reply) == (403, "stream_key_wrong")
    assert house.ways.now.etag == "etag-1"


async def test_fragments_are_limited_per_address(door, expert) -> None:
    _, key, _ = expert
    client, headers = door.client(), key | FRAGMENT | {"If-Match": "*"}
    statuses = [
        (await client.patch("/whip/luna/res-1", data=TRICKLED, headers=headers)).status
        for _ in range(260)
    ]
    assert statuses[:200] == [204] * 200
    assert 429 in statuses


async def test_whep_needs_no_key_and_ends_by_its_address(door, expert, problem) -> None:
    _, _, house = expert
    client = door.client()
    reply = await client.post("/whep/LUNA", data=OFFER, headers=SDP)
    assert reply.status == 201
    assert reply.headers["Location"] == "/whep/luna/res-1"
    assert house.asked == [("luna", OFFER)]
    assert await problem(await client.delete("/whep/luna/guessed")) == (404, "not_found")
    assert (await client.delete("/whep/luna/res-1")).status == 200


async def test_whep_of_nobody_and_of_an_expert_who_is_off_air(door, expert, problem) -> None:
    _, _, house = expert
    reply = await door.client().post("/whep/nobody", data=OFFER, headers=SDP)
    assert await problem(reply) == (404, "no_such_expert")
    house.outcome = Refusal(Code.NOT_LIVE)
    reply = await door.client().post("/whep/luna", data=OFFER, headers=SDP)
    assert await problem(reply) == (409, "not_live")
    assert int(reply.headers["Retry-After"]) > 0


class TestWithTurn:
    """A TURN server is configured."""

    @pytest.fixture
    def flags(self) -> dict[str, dict[str, object]]:
        return {
            "ice": {
                "stun_urls": ["stun:stun.example:3478"],
                "turn_urls": ["turn:turn.example:3478?transport=udp"],
                "turn_secret": "shared-with-coturn",
            }
        }

    async def test_servers_come_as_links(self, door, expert) -> None:
        _, key, _ = expert
        reply = await door.client().post("/whip/luna", data=OFFER, headers=SDP | key)
        links = reply.headers.getall("Link")
        assert links[0] == '<stun:stun.example:3478>; rel="ice-server"'
        assert 'credential-type="password"' in links[1]

    async def test_who_must_know_them_before_the_offer_asks_with_options(
        self, door, expert
    ) -> None:
        _, key, _ = expert
        client = door.client()
        links = (await client.options("/whip/luna", headers=key)).headers.getall("Link")
        assert len(links) == 2
        wrong = {"Authorization": "Bearer sk_wrong"}
        for path, headers in (("/whip/luna", {}), ("/whip/luna", wrong), ("/whip/orion", key)):
            assert "Link" not in (await client.options(path, headers=headers)).headers
        assert len((await client.options("/whep/luna")).headers.getall("Link")) == 2
        preflight = {"Origin": "https://player.example", "Access-Control-Request-Method": "POST"}
        reply = await client.options("/whep/luna", headers=preflight)
        assert "Link" not in reply.headers
        assert reply.headers["Access-Control-Allow-Origin"] == "*"

    async def test_servers_with_hmac_credentials(self, door) -> None:
        """The vector is computed here by hand: base64(HMAC-SHA1(secret, username))."""
        import base64
        import hashlib
        import hmac

        reply = await (await door.client().get("/api/v1/ice-servers")).json()
        assert reply["ice_transport_policy"] == "all"
        turn = reply["ice_servers"][1]
        expiry, _, user = turn["username"].partition(":")
        now_s = door.services.utc_now().timestamp()
        assert abs(int(expiry) - now_s - 3_600) < 5
        assert user == "guest"
        digest = hmac.new(b"shared-with-coturn", turn["username"].encode(), hashlib.sha1).digest()
        assert turn["credential"] == base64.b64encode(digest).decode()
