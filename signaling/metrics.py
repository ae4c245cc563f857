"""Prometheus metrics, made at scrape from what the parts already know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from billing_meter import outbox
from billing_meter.store_health import Trouble
from media.api import BusyReason, Load
from rooms.limits import NS_PER_S

if TYPE_CHECKING:
    from signaling.services import Services

LAG_PERIOD_S = 0.5
DROP_REASONS = (
    "length",
    "unknown_address",
    "first_byte",
    "stun",
    "flood",
    "queue_full",
    "srtp",
    "send_full",
    "stream_full",
    "receive_full",
)


class LoopLag:
    """How late the event loop is: the worst delay of a timer since the last scrape."""

    def __init__(self) -> None:
        self._worst_s = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self._worst_s = max(self._worst_s, loop.time() - due_s)

    def take_s(self) -> float:
        """The worst since the last call."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s


def exposition(services: Services, mail: outbox.Figures | None) -> bytes:
    """The text of one scrape; without `mail` when the database does not answer."""
    registry = CollectorRegistry()
    registry.register(_Collector(services, mail))
    return generate_latest(registry)


class _Collector:
    def __init__(self, services: Services, mail: outbox.Figures | None) -> None:
        self._services = services
        self._mail = mail

    def collect(self) -> Iterator[Metric]:
        yield from self._rooms()
        yield from self._media()
        yield from self._mails()
        yield from self._ledger()
        yield from self._process()

    def _rooms(self) -> Iterator[Metric]:
        house = self._services.house
        states = GaugeMetricFamily(
            "parlour_experts", "Experts by presence state.", labels=["state"]
        )
        for state, number in Counter(card.state.value for card in house.cards()).items():
            states.add_metric([state], number)
        yield states
        people = GaugeMetricFamily("parlour_visitors", "Places in the house.", labels=["kind"])
        kinds = Counter(place.visitor.kind.value for place in house.floor.places.values())
        for kind, number in kinds.items():
            people.add_metric([kind], number)
        yield people
        yield GaugeMetricFamily(
            "parlour_ws_connections", "Open WebSockets.", self._services.hub.connections
        )
        phases = GaugeMetricFamily(
            "parlour_private_sessions", "Private sessions by phase.", labels=["phase"]
        )
        sessions = house.desk.sessions.values()
        for phase, number in Counter(live.session.phase.value for live in sessions).items():
            phases.add_metric([phase], number)
        yield phases

    def _media(self) -> Iterator[Metric]:
        media = self._services.media.metrics()
        yield GaugeMetricFamily("parlour_media_publishers", "Publishers.", media.publishers)
        yield GaugeMetricFamily("parlour_media_viewers", "Viewers.", media.viewers)
        yield GaugeMetricFamily(
            "parlour_media_tcp_connections", "Open ICE-TCP connections.", media.tcp_connections
        )
        for name, text, value in (
            ("datagrams_received", "Datagrams received on the media port.", media.datagrams_in),
            ("received_bytes", "Bytes received on the media port.", media.bytes_in),
            ("packets_forwarded", "Packets sent to viewers.", media.packets_forwarded),
            ("forwarded_bytes", "Bytes sent to viewers.", media.bytes_forwarded),
            ("send_errors", "Datagrams that the kernel did not take.", media.send_errors),
            ("dtls_failures", "DTLS handshakes that failed.", media.dtls_failures),
        ):
            yield CounterMetricFamily(f"parlour_media_{name}", text, value)
        dropped = CounterMetricFamily(
            "parlour_media_dropped", "Datagrams dropped, by reason.", labels=["reason"]
        )
        for reason in DROP_REASONS:
            dropped.add_metric([reason], getattr(media, f"dropped_{reason}"))
        yield dropped
        yield from self._load(media.load)

    def _load(self, load: Load) -> Iterator[Metric]:
        busy = GaugeMetricFamily(
            "parlour_overloaded", "1 while new viewers are refused, by reason.", labels=["reason"]
        )
        for reason in BusyReason:
            busy.add_metric([reason.value], int(load.busy is reason))
        yield busy
        for name, text, value in (
            (
                "worked_ratio",
                "Share of the last second in which the event loop was at work.",
                load.worked_share,
            ),
            (
                "lag_seconds",
                "Mean lateness of the media timer in the last second.",
                load.lag_ns / NS_PER_S,
            ),
            ("dropped_ratio", "Share of datagrams that found a buffer full.", load.dropped_share),
            (
                "peers_ratio",
                "Peer connections, as a share of the most there may be.",
                load.peers_share,
            ),
        ):
            yield GaugeMetricFamily(f"parlour_load_{name}", text, value)
        yield CounterMetricFamily(
            "parlour_viewers_refused",
            "Viewers refused because the process was overloaded.",
            self._services.house.airing.refused_busy,
        )

    def _mails(self) -> Iterator[Metric]:
        counts = self._services.mail_counts
        ended = CounterMetricFamily(
            "parlour_mail_deliveries", "Deliveries, by what became of them.", labels=["outcome"]
        )
        for outcome in ("sent", "put_off", "given_up"):
            ended.add_metric([outcome], getattr(counts, outcome))
        yield ended
        yield CounterMetricFamily(
            "parlour_mail_outages", "Times that no mail server was reached.", counts.outages
        )
        if self._mail is None:
            return
        kept = GaugeMetricFamily("parlour_mails", "Mails in the outbox.", labels=["state"])
        kept.add_metric(["waiting"], self._mail.waiting)
        kept.add_metric(["dead"], self._mail.dead)
        yield kept
        yield GaugeMetricFamily(
            "parlour_mail_overdue_seconds",
            "Since when the mail that waits longest could have been tried.",
            self._mail.overdue_ms / 1_000,
        )

    def _ledger(self) -> Iterator[Metric]:
        health, now_ns = self._services.database.health, time.monotonic_ns()
        present = health.trouble(now_ns)
        trouble = GaugeMetricFamily(
            "parlour_ledger_unavailable",
            "1 while the ledger takes no writes, by reason.",
            labels=["reason"],
        )
        failures = CounterMetricFamily(
            "parlour_ledger_write_failures",
            "Writes that the store failed, by reason.",
            labels=["reason"],
        )
        for reason in Trouble:
            trouble.add_metric([reason.value], int(reason is present))
            failures.add_metric([reason.value], health.failures[reason])
        yield trouble
        yield failures
        yield GaugeMetricFamily(
            "parlour_ledger_write_age_seconds",
            "How long the write that is under way has taken so far.",
            health.age_ns(now_ns) / NS_PER_S,
        )

    def _process(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "parlour_event_loop_lag_seconds",
            "Worst delay of a timer since the last scrape.",
            self._services.lag.take_s(),
        )
        yield GaugeMetricFamily(
            "parlour_draining", "1 while the server stops.", int(self._services.draining)
        )
