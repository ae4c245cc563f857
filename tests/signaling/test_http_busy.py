"""An overloaded server at its door: not ready, says why, and sends new players away for a while."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from media.api import BusyReason, Load
from rooms.limits import BUSY_RETRY_S

OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"
SDP = {"Content-Type": "application/sdp"}


def overload(door, reason: BusyReason) -> None:
    """As if the last seconds had been like this; five quiet ones would have to follow."""
    door.services.media._overload.load = Load(reason, 0.97, 12_000_000, 0.004, 0.5)


@pytest.mark.parametrize("reason", list(BusyReason))
async def test_an_overloaded_server_is_alive_but_not_ready_and_says_why(
    door, problem, reason: BusyReason
) -> None:
    client = door.client()
    overload(door, reason)
    reply = await client.get("/readyz")
    assert await problem(reply) == (503, "overloaded")
    assert (await reply.json(content_type=None))["detail"].startswith(f"{reason}: ")
    assert reply.headers["Retry-After"] == str(BUSY_RETRY_S)
    assert (await client.get("/healthz")).status == 200


async def test_a_new_player_is_told_when_to_come_again_and_metrics_count_it(door, problem) -> None:
    account, _ = await door.expert("luna")
    client = door.client()
    answer = await client.post("/whep/luna", data=OFFER, headers=SDP)
    assert await problem(answer) == (409, "not_live")
    house = door.services.house
    house.floor.room(account.account_id).presence.media(True)
    overload(door, BusyReason.CPU)
    reply = await client.post("/whep/luna", data=OFFER, headers=SDP)
    assert await problem(reply) == (503, "overloaded")
    assert reply.headers["Retry-After"] == str(BUSY_RETRY_S)
    families = {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples}
        for family in text_string_to_metric_families(await (await client.get("/metrics")).text())
    }
    assert families["parlour_overloaded"] == {
        (reason.value,): float(reason is BusyReason.CPU) for reason in BusyReason
    }
    assert families["parlour_load_worked_ratio"] == {(): 0.97}
    assert families["parlour_load_lag_seconds"] == {(): 0.012}
    assert families["parlour_load_dropped_ratio"] == {(): 0.004}
    assert families["parlour_load_peers_ratio"] == {(): 0.5}
    assert families["parlour_viewers_refused"] == {(): 1.0}
    assert ("send_full",) in families["parlour_media_dropped"]
    assert ("receive_full",) in families["parlour_media_dropped"]
