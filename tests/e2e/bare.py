"""Visitors without a browser: a WebSocket that keeps its messages, calls that keep their packets.

They speak the public protocol and nothing else. Media are marked packets and no pictures, so that
whoever decrypts one knows who sent it, in which period, and whether one is missing.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from billing_meter.database import Database
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.units import UNITS_PER_CREDIT
from billing_meter.wallet import Wallet
from media.api import Answer
from media.batch import PacketBuffer
from rooms.directory import ExpertDetails
from signaling import store, wire
from signaling.accounts import Accounts, NameTaken, NewAccount
from signaling.config import Config, load
from signaling.experts import Experts
from signaling.tokens import Grant, Tokens, secret_of
from tests.media.callers import Caller, offer, rtp

WAIT_S = 20
PACKET_EVERY_S = 0.02
SO_TIMESTAMPNS, CONTROL_BYTES = 35, 64
"""Linux: the kernel's own time of arrival, since a busy test reads late."""
TARIFF = Tariff(299, 100, 50)
VIDEO_SSRC, AUDIO_SSRC = 4711, 4712
VIDEO, AUDIO = 96, 111
KEYFRAME = b"\x10\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01" + bytes(200)
"""Every picture is one: whoever may receive could begin with any packet."""

Message = TypeVar("Message", bound=wire.ServerMessage)


# --- the store ----------------------------------------------------------------------------------


def settings(data: Path) -> Config:
    """The configuration of a server on this data directory."""
    return load(None, {}, {"server": {"data": str(data)}})


@dataclass
class People:
    """Account ids and stream keys by name."""

    data: Path
    ids: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def token(self, name: str) -> str:
        """A bearer token, as `parlour token` prints it: no password is hashed."""
        tokens = Tokens(secret_of(settings(self.data).auth.secret, self.data), store.utc_now)
        role = "expert" if name in self.keys else "member"
        return tokens.issue(Grant(sub=self.ids[name], role=role, name=name))


async def populate(data: Path, experts: Sequence[str], members: Mapping[str, int]) -> People:
    """Experts, and members with so many credits.

    What `parlour expert add` and `parlour member add` do, without a process for each.
    """
    data.mkdir(exist_ok=True)
    people = People(data)
    with store.passwords() as hasher:
        async with store.opened_store(settings(data)) as database:
            accounts = Accounts(database, hasher, store.utc_now)
            profiles = Experts(database, accounts, store.utc_now)
            wallet = Wallet(database, utc_now=store.utc_now)
            for name in experts:
                added = await profiles.add(name, None, details(name))
                assert not isinstance(added, NameTaken)
                people.ids[name], people.keys[name] = added[0].account_id, added[1]
            for name, credits in members.items():
                account = await accounts.add(NewAccount("member", name, None))
                assert not isinstance(account, NameTaken)
                people.ids[name] = account.account_id
                if credits:
                    units = credits * UNITS_PER_CREDIT
                    await wallet.grant_promo(account.account_id, units, f"test:{name}", "test")
    return people


def details(name: str) -> ExpertDetails:
    """An expert who offers everything."""
    return ExpertDetails(name, "", "", (), ("en",), TARIFF, cam2cam=True, two_way_audio=True)


async def books_are_clean(data: Path) -> None:
    """What `ledger verify` and `ledger reconcile` say: nothing."""
    database = await Database.open(f"sqlite+aiosqlite:///{data}/parlour.db")
    try:
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
    finally:
        await database.close()


# --- the WebSocket ------------------------------------------------------------------------------


class Visitor:
    """One person at one WebSocket: whom the bearer token names, or a guest."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        headers = {"Origin": url}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers=headers
        )
        self.messages: list[wire.ServerMessage] = []
        self.listeners: list[Callable[[wire.ServerMessage], None]] = []
        self.lost = False
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def open(self, resume: str | None = None) -> wire.Welcome:
        """Take a ticket, say hello."""
        async with self.http.post(f"{self.url}/api/v1/ws-ticket", json={}) as reply:
            assert reply.status == 200, await reply.text()
            ticket = (await reply.json())["ticket"]
        self._socket = await self.http.ws_connect(
            f"{self.url}/ws", protocols=(wire.SUBPROTOCOL_JSON,)
        )
        self._reader = asyncio.create_task(self._read())
        welcome = await self.say(wire.Hello(ticket=ticket, resume=resume))
        assert isinstance(welcome, wire.Welcome), welcome
        return welcome

    async def _read(self) -> None:
        async for frame in self._socket:
            message = wire.decode_server_json(frame.data)
            self.messages.append(message)
            for listener in self.listeners:
                listener(message)
            self._changed.set()
        self.lost = True
        self._changed.set()

    async def say(self, message: wire.ClientMessage) -> wire.ServerMessage:
        """Send, and the answer."""
        message.id = next(self._ids)
        await self._socket.send_str(wire.encode_json(message).decode())
        return await self._until(lambda m: getattr(m, "id", None) == message.id)

    async def hears(
        self, kind: type[Message], condition: Callable[[Message], bool] = lambda m: True
    ) -> Message:
        """The first message of this kind, past or to come."""
        found: Any = await self._until(lambda m: isinstance(m, kind) and condition(m))
        return found  # type: ignore[no-any-return]

    async def _until(self, condition: Callable[[Any], bool]) -> wire.ServerMessage:
        async with asyncio.timeout(WAIT_S):
            while True:
                self._changed.clear()
                for message in self.messages:
                    if condition(message):
                        return message
                if self.lost:
                    raise ConnectionError("the server is gone")
                await self._changed.wait()

    async def phase(self, phase: str) -> wire.SessionView:
        """Wait for the private session to be there."""
        state = await self.hears(wire.PrivateState, lambda m: m.session.phase == phase)
        return state.session

    async def watches(self, feed: wire.Feed = "stream", sdp: str | None = None) -> Ear:
        """Offer to receive, and connect."""
        reply = await self.say(wire.MediaWatch(feed=feed, sdp=sdp or offer("recvonly")))
        assert isinstance(reply, wire.MediaAnswer), reply
        return await Ear(Answer(reply.sdp, "", "")).connect()

    async def publishes(self, feed: wire.Feed, label: bytes) -> Mouth:
        """Offer to send, connect and begin."""
        reply = await self.say(wire.MediaPublish(feed=feed, sdp=offer("sendonly")))
        assert isinstance(reply, wire.MediaAnswer), reply
        return Mouth(await Ear(Answer(reply.sdp, "", "")).connect(), label)

    async def streams(self, name: str, key: str, label: bytes) -> tuple[Mouth, str]:
        """On air as an encoder is, over WHIP; with the address of the resource."""
        status, resource, answer = await self.offers_over_http(f"/whip/{name}", "sendonly", key)
        assert status == 201, answer
        return Mouth(await Ear(Answer(answer, "", "")).connect(), label), resource

    async def offers_over_http(
        self, path: str, direction: str, bearer: str | None = None
    ) -> tuple[int, str, str]:
        """WHIP and WHEP: (status, Location, answer)."""
        headers = {"Content-Type": "application/sdp"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        async with self.http.post(self.url + path, data=offer(direction), headers=headers) as reply:
            return reply.status, reply.headers.get("Location", ""), await reply.text()

    async def close(self) -> None:
        """Gone, without a word about it."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            await self._socket.close()
        await self.http.close()


async def meet(name: str, expert: Visitor, *others: Visitor) -> None:
    """All are in the expert's room, which is on air."""
    for visitor in (expert, *others):
        await visitor.open()
        entered = await visitor.say(wire.RoomEnter(expert=name))
        assert isinstance(entered, wire.RoomEntered), entered
    await expert.hears(wire.RoomState, lambda m: m.expert.state == "live_free")


async def ask(
    expert: Visitor, member: Visitor, *, cam2cam: bool = False, two_way_audio: bool = False
) -> str:
    """The member asks for a private session, and it rings; the session."""
    rate = TARIFF.rate(Component.PRIVATE)
    rate += TARIFF.rate(Component.CAM2CAM) * cam2cam
    rate += TARIFF.rate(Component.TWO_WAY_AUDIO) * two_way_audio
    ringing = await member.say(
        wire.PrivateRequest(accepted_units_per_s=rate, cam2cam=cam2cam, two_way_audio=two_way_audio)
    )
    assert isinstance(ringing, wire.PrivateState), ringing
    session = ringing.session.session
    await expert.hears(wire.PrivateIncoming, lambda m: m.session.session == session)
    return session


async def accept(expert: Visitor, session: str) -> None:
    """The expert takes the request."""
    answer = await expert.say(wire.PrivateAccept(session=session))
    assert isinstance(answer, wire.Ack), answer


# --- media --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """One decrypted RTP packet of ours: what it is and when it came."""

    at_s: float
    ssrc: int
    sequence: int
    label: bytes
    number: int


class Ear(Caller):
    """A call that keeps all it gets, decrypted or not, and all it sent."""

    def __init__(self, answer: Answer) -> None:
        self.heard: list[Heard] = []
        self.early = 0
        """Media that came while there were no keys: the server may be through first."""
        self.unreadable = 0
        """Media that came and did not open with this call's keys."""
        self.sent: list[bytes] = []
        self.spans: dict[int, tuple[float, float]] = {}
        """When the first and the last media datagram of each stream arrived, by the kernel."""
        self._arrived_s = 0.0
        super().__init__(answer)

    @property
    def ssrcs(self) -> tuple[int, ...]:
        """What the answer promised: audio, video and RTX."""
        lines = [line for line in self.answer.sdp.splitlines() if line.startswith("a=ssrc:")]
        return tuple(dict.fromkeys(int(line[7:].split()[0]) for line in lines))

    @property
    def media_count(self) -> int:
        """Every media datagram so far."""
        return len(self.heard) + self.unreadable + self.early

    def send_raw(self, data: bytes) -> None:
        self.sent.append(data)
        super().send_raw(data)

    def _new_socket(self) -> socket.socket:
        sock = super()._new_socket()
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return sock

    def receive(self, sock: socket.socket) -> bytes:
        data, control, _, _ = sock.recvmsg(2_000, CONTROL_BYTES)
        for _level, kind, value in control:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value)
                self._arrived_s = seconds + nanoseconds / 1e9
        return data

    def held_s(self, *ssrcs: int) -> float:
        """From the first media datagram of these streams to the last."""
        spans = [self.spans[ssrc] for ssrc in ssrcs if ssrc in self.spans]
        if not spans:
            return 0.0
        return max(last for _, last in spans) - min(first for first, _ in spans)

    def on_media(self, data: bytes) -> None:
        rtcp, buffer = 191 < data[1] < 224, PacketBuffer()
        buffer.data[: len(data)] = data
        if not rtcp:
            ssrc = int.from_bytes(data[8:12])
            first_s, _ = self.spans.get(ssrc, (self._arrived_s, 0.0))
            self.spans[ssrc] = first_s, self._arrived_s
        if self.srtp is None:
            self.early += not rtcp
            return
        unprotect = buffer.unprotect_rtcp if rtcp else buffer.unprotect
        length = unprotect(self.srtp.rx, len(data))
        if rtcp:
            return
        if length <= 0:
            self.unreadable += 1
            return
        plain = bytes(buffer.data[:length])
        sequence, ssrc = struct.unpack_from("!H4xI", plain, 2)
        label, number = plain[-8:-4], int.from_bytes(plain[-4:])
        self.heard.append(Heard(self._arrived_s, ssrc, sequence, label, number))

    def drain(self) -> None:
        """Read what lies in the socket already."""
        if self.socket.fileno() >= 0:
            self._on_readable(self.socket)

    def labelled(self, label: bytes) -> list[Heard]:
        """The packets of one sender and period."""
        return [heard for heard in self.heard if heard.label == label]

    async def hears(self, label: bytes, count: int) -> None:
        """Wait until that many packets of this label have come."""
        await self.until(lambda: len(self.labelled(label)) >= count)


@dataclass
class Mouth:
    """Sends marked audio and video, fifty of each a second, until it is closed."""

    call: Ear
    label: bytes
    number: int = 0
    quiet: bool = False
    task: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while True:
            if not self.quiet:
                self.number += 1
                self.call.send(marked(self.label, self.number, AUDIO))
                self.call.send(marked(self.label, self.number, VIDEO))
            await asyncio.sleep(PACKET_EVERY_S)

    async def close(self) -> None:
        """Falls silent."""
        self.task.cancel()
        await asyncio.wait([self.task])


def marked(label: bytes, number: int, kind: int) -> bytes:
    """A plain RTP packet that ends with who sent it and its number."""
    ssrc = VIDEO_SSRC if kind == VIDEO else AUDIO_SSRC
    payload = KEYFRAME + label + number.to_bytes(4)
    return rtp(number & 0xFFFF, ssrc=ssrc, pt=kind, payload=payload)
