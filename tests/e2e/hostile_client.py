"""A client that is in the free room by right and tries for everything that is not meant for it.

It has live keys, stream numbers and sequence numbers from the free period, knows every id of the
private session as if somebody had told it, and has seen every datagram of its victims.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from media import rtcp
from media.api import Answer
from media.stun import binding_request
from signaling import wire
from tests.e2e.bare import AUDIO, AUDIO_SSRC, VIDEO, VIDEO_SSRC, Ear, Visitor, marked
from tests.media.callers import offer

NACK_BACK, NACK_AHEAD, NACKS_PER_PACKET = 400, 400, 200
REPLAYED_MAX = 300
EVIL = b"evil"


@dataclass
class Hostile:
    """One hacked client. `ears` are all calls through which something could come."""

    visitor: Visitor
    ear: Ear
    offer_sdp: str
    ears: list[Ear] = field(default_factory=list)
    count_at_seal: int = 0

    def __post_init__(self) -> None:
        self.ears.append(self.ear)
        self.stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stranger.setblocking(False)
        self.stranger.bind(("127.0.0.1", 0))

    @property
    def media_count(self) -> int:
        """Every media datagram that reached any of its calls, readable or not."""
        for ear in self.ears:
            ear.drain()
        return sum(ear.media_count for ear in self.ears)

    @property
    def strange(self) -> int:
        """How many datagrams a socket got that nobody should answer."""
        count = 0
        while True:
            try:
                self.stranger.recv(2_000)
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        """Gone."""
        self.stranger.close()

    # --- packets ------------------------------------------------------------------------------

    def feedback(self) -> None:
        """NACK, PLI, FIR and REMB for its own streams and for the publisher's."""
        last = {heard.ssrc: heard.sequence for heard in self.ear.heard}
        newest = max(last.values(), default=0)
        for ssrc in (*self.ear.ssrcs, VIDEO_SSRC, AUDIO_SSRC, 0):
            head = rtcp.build_rr(1)
            middle = last.get(ssrc, newest)
            wanted = range(middle - NACK_BACK, middle + NACK_AHEAD)
            for begin in range(wanted.start, wanted.stop, NACKS_PER_PACKET):
                some = [n & 0xFFFF for n in range(begin, begin + NACKS_PER_PACKET)]
                self.ear.send(head + rtcp.build_nack(1, ssrc, some))
            self.ear.send(head + rtcp.build_pli(1, ssrc))
            self.ear.send(head + full_intra_request(ssrc))
            self.ear.send(head + rtcp.build_remb(1, 50_000_000, [ssrc]))

    def inject(self, numbers: Iterator[int]) -> None:
        """RTP in the publisher's name: under its own keys, under none, from nowhere."""
        for kind in (AUDIO, VIDEO):
            forged = marked(EVIL, next(numbers), kind)
            self.ear.send(forged)
            self.ear.send_raw(forged)
            self._from_nowhere(forged)

    def impersonate(self, victim: Ear) -> None:
        """Checks that would move the victim's media here, with all but the password."""
        for password in (b"client-password-0123456789", b"0" * 32, victim.username.encode()):
            for send in (self.ear.send_raw, self._from_nowhere):
                check = secrets.token_bytes(12), victim.username.encode(), password
                send(binding_request(*check, use_candidate=True))

    def replay(self, victim: Ear) -> None:
        """What the victim sent, once more from two other addresses."""
        control = [data for data in victim.sent if data[0] < 64]
        for data in control + victim.sent[-REPLAYED_MAX:]:
            self.ear.send_raw(data)
            self._from_nowhere(data)

    def _from_nowhere(self, data: bytes) -> None:
        self.stranger.sendto(data, self.ear.server)

    async def take_old_answer_again(self, answer: Answer) -> None:
        """The old answer in a new call from a new address: checks, and a handshake once more."""
        again = Ear(answer)
        self.ears.append(again)
        await again.ice()
        again.start_handshake()

    # --- words --------------------------------------------------------------------------------

    async def ask_for_it(self, session: str, strange_ids: list[str]) -> None:
        """Every message that could lead to media or disturb a session; each must be refused."""
        new = offer("recvonly", ufrag="anew")
        asked: list[wire.ClientMessage] = [
            wire.MediaWatch(feed="stream", sdp=new),
            wire.MediaWatch(feed="stream", sdp=self.offer_sdp),
            wire.MediaWatch(feed="stream", sdp=self.ear.answer.sdp),
            wire.MediaWatch(feed="private", sdp=new),
            wire.MediaPublish(feed="private", sdp=offer("sendonly")),
            wire.MediaPublish(feed="stream", sdp=offer("sendonly")),
            wire.MediaUnpublish(feed="stream"),
            wire.MediaUnpublish(feed="private"),
            wire.StudioGoOffline(),
            wire.PrivateRequest(accepted_units_per_s=449, cam2cam=True, two_way_audio=True),
            wire.PrivateSwitch(component="cam2cam", on=False),
            wire.PrivateCancel(),
            wire.PrivateEnd(),
        ]
        for guess in (session, *strange_ids):
            asked.append(wire.PrivateAccept(session=guess[:64]))
            asked.append(wire.PrivateDecline(session=guess[:64]))
            asked.append(wire.RoomEnter(expert=guess[:32]))
        for message in asked:
            reply = await self.visitor.say(message)
            assert isinstance(reply, wire.Error), (message, reply)
            await asyncio.sleep(0.03)  # beneath the limit of messages a second

    async def ask_over_http(
        self, expert: str, bearers: list[str | None], ids: list[str]
    ) -> list[tuple[str, int]]:
        """WHEP and WHIP with every token and on every resource name; (what, status) of each."""
        results = []
        for bearer in bearers:
            for path, direction in (
                (f"/whep/{expert}", "recvonly"),
                (f"/whip/{expert}", "sendonly"),
            ):
                status, _, _ = await self.visitor.offers_over_http(path, direction, bearer)
                results.append((f"POST {path}", status))
        for door, method, name in itertools.product(("whep", "whip"), ("DELETE", "PATCH"), ids):
            path = f"/{door}/{expert}/{name}"
            bearer = bearers[-1]
            headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
            url = self.visitor.url + path
            async with self.visitor.http.request(method, url, headers=headers) as reply:
                results.append((f"{method} {path}", reply.status))
        return results


def full_intra_request(ssrc: int) -> bytes:
    """RFC 5104 §4.3.1: a keyframe request with a number of its own."""
    return struct.pack("!BBHIIIB3x", 0x84, 206, 4, 1, 0, ssrc, secrets.randbelow(256))
