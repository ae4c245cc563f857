"""Page shells, static files, headers, health."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from yarl import URL

from billing_meter.database import DatabaseUnavailable
from rooms.roles import Standing, Visitor, VisitorKind
from signaling import pages
from signaling.experts import Experts

PASSWORD = "correct-horse-9"

PAGES = {
    "/": "home",
    "/room/luna": "room",
    "/studio": "studio",
    "/wallet": "wallet",
    "/sign-in": "sign-in",
    "/sign-up": "sign-up",
    "/help/camera": "help",
}


async def test_every_page_is_a_shell_without_inline_code(door) -> None:
    await door.expert("luna")
    for path, name in PAGES.items():
        reply = await door.client().get(path)
        text = await reply.text()
        assert reply.status == 200
        assert f'data-page="{name}"' in text
        assert '<div id="app"' in text
        assert 'class="skip-link"' in text
        assert "<noscript>" in text
        assert not re.search(r"<script(?![^>]*src=)[^>]*>", text)
        assert "style=" not in text
        assert "onclick" not in text
    text = await (await door.client().get("/room/LUNA")).text()
    assert 'data-expert="luna"' in text
    assert "<title>Luna Hart · Parlour</title>" in text


async def test_unknown_room_and_unknown_page_are_404_pages(door) -> None:
    for path in ("/room/nobody", "/room/%3Cscript%3E", "/nowhere"):
        reply = await door.client().get(path)
        assert reply.status == 404
        assert 'data-page="not-found"' in await reply.text()
        assert "<script>" not in await reply.text()


async def test_an_expert_added_beside_the_server_has_a_studio_at_once(door) -> None:
    await door.expert("luna")
    known = door.services.experts
    beside = Experts(known._database, door.services.accounts, lambda: datetime.now(UTC))
    details = known.experts()[0]
    assert isinstance(await beside.add("orion", PASSWORD, details), tuple)
    client = await door.signed_in("orion")
    reply = await client.get("/api/v1/studio")
    assert (reply.status, (await reply.json())["expert"]["name"]) == (200, "orion")


async def test_an_expert_added_beside_the_server_has_a_room_at_once(door) -> None:
    """The command line writes the same store; an open home page is told of the newcomer too."""
    await door.expert("luna")
    house, known = door.services.house, door.services.experts
    told: list[tuple[str, str]] = []
    house.emit = lambda place, event: told.append((place, event.card.name))
    home = house.lobby.arrive(Visitor(VisitorKind.GUEST, "g", "Guest 1"), Standing())
    assert [card.name for card in house.lobby.watch_grid(home)] == ["luna"]
    beside = Experts(known._database, door.services.accounts, lambda: datetime.now(UTC))
    details = known.experts()[0]
    assert isinstance(await beside.add("orion", None, details), tuple)
    assert isinstance(await beside.add("vega", None, details), tuple)
    assert told == []

    text = await (await door.client().get("/room/Orion")).text()
    assert 'data-expert="orion"' in text
    assert told == [(home, "orion"), (home, "vega")]
    await known.load()
    assert len(told) == 2, "what is known already is not told again"


async def test_a_name_that_nobody_has_costs_no_reading_of_all_profiles(door, monkeypatch) -> None:
    async def load() -> None:
        raise AssertionError("all profiles were read")

    monkeypatch.setattr(door.services.experts, "load", load)
    assert (await door.client().get("/room/nobody")).status == 404


async def test_unknown_api_address_is_a_problem(door, problem) -> None:
    assert await problem(await door.client().get("/api/v1/nowhere")) == (404, "not_found")
    reply = await door.client().put("/api/v1/me", json={})
    assert await problem(reply) == (405, "method_not_allowed")
    assert "GET" in reply.headers["Allow"]


def test_names_are_escaped() -> None:
    text = pages.shell("room", "en", mode="production", expert='"><script>', name="</title><b>")
    assert "<script>" not in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ("", "", "en"),
        ("", "nb-NO,nb;q=0.9,en;q=0.8", "nb"),
        ("", "no", "nb"),
        ("", "nn;q=0.3, en-GB;q=0.9", "en"),
        ("", "de, fr", "en"),
        ("", "nb;q=x, ;;;, en", "en"),
        ("?lang=nb", "en", "nb"),
        ("?lang=en", "nb", "en"),
        ("?lang=xx", "nb", "nb"),
    ],
)
async def test_language(door, query: str, header: str, language: str) -> None:
    reply = await door.client().get("/" + query, headers={"Accept-Language": header})
    assert f'<html lang="{language}"' in await reply.text()


async def test_chosen_language_is_remembered(door) -> None:
    client = door.client()
    await client.get("/?lang=nb")
    assert '<html lang="nb"' in await (await client.get("/wallet")).text()


async def test_security_headers_are_on_everything(door) -> None:
    for path in ("/", "/nowhere", "/api/v1/me", "/api/v1/nowhere", "/static/js/main.js"):
        headers = (await door.client().get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Server" not in headers
        assert "Strict-Transport-Security" not in headers


class TestProduction:
    """Production behind a TLS proxy."""

    @pytest.fixture
    def flags(self) -> dict[str, dict[str, object]]:
        return {
            "server": {
                "mode": "production",
                "public_url": "https://parlour.example",
                "trusted_proxies": ["127.0.0.1/32"],
            },
            "money": {"provider": "none"},
        }

    async def test_hsts(self, door) -> None:
        headers = (await door.client().get("/")).headers
        assert headers["Strict-Transport-Security"].startswith("max-age=31536000")

    async def test_nothing_is_for_sale(self, door, problem) -> None:
        client = door.client()
        bearer = {"Authorization": f"Bearer {door.token(await door.member())}"}
        price_list = await (await client.get("/api/v1/wallet/packages")).json()
        assert price_list["methods"] == []
        reply = await client.post(
            "/api/v1/orders",
            json={"package": "credits-27", "method": "card"},
            headers=bearer | {"Idempotency-Key": "k"},
        )
        assert await problem(reply) == (503, "payments_unavailable")


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A browser client of our own making."""
    root = tmp_path / "web"
    (root / "js").mkdir(parents=True)
    (root / "js" / "main.js").write_text("export {};\n")
    (root / ".secret.js").write_text("secret")
    (root / "notes.txt").write_text("secret")
    (root / "README.md").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    (root / "link.js").symlink_to(tmp_path / "outside.js")
    monkeypatch.setattr(pages, "static_root", lambda: root)
    return root


async def test_static_files_are_revalidated_by_etag(door, web) -> None:
    client = door.client()
    reply = await client.get("/static/js/main.js")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-cache"
    etag = reply.headers["ETag"]
    assert (await client.get("/static/js/main.js", headers={"If-None-Match": etag})).status == 304
    (web / "js" / "main.js").write_text("export const changed = 1;\n")
    again = await client.get("/static/js/main.js", headers={"If-None-Match": etag})
    assert again.status == 200


async def test_only_our_files_are_served(door, web) -> None:
    client = door.client()
    for path in (
        "link.js",
        ".secret.js",
        "notes.txt",
        "README.md",
        "js",
        "js/",
        "js/none.js",
        "../outside.js",
        "%2e%2e/outside.js",
        "..%2foutside.js",
        "js/..%2f..%2foutside.js",
        "js%5c..%5c..%5coutside.js",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "js/main.js%00.png",
    ):
        url = URL(f"{door.origin}/static/{path}", encoded=True)
        reply = await client.session.get(url)
        assert reply.status in (403, 404), path
        assert "secret" not in await reply.text()


async def test_health(door, problem) -> None:
    client = door.client()
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    door.services.draining = True
    assert await problem(await client.get("/readyz")) == (503, "draining")
    assert (await client.get("/healthz")).status == 200


async def test_not_ready_without_database(door, problem, monkeypatch) -> None:
    @asynccontextmanager
    async def gone():
        raise DatabaseUnavailable("disk on fire")
        yield

    monkeypatch.setattr(door.services.database, "read", gone)
    reply = await door.client().get("/readyz")
    assert await problem(reply) == (503, "ledger_unavailable")
    assert "fire" not in await reply.text()


async def test_a_fault_is_a_problem_without_details(door, problem, monkeypatch) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(door.services.house, "cards", broken)
    reply = await door.client().get("/api/v1/experts")
    assert await problem(reply) == (500, "internal")
    assert "secret" not in await reply.text()


async def test_metrics_are_prometheus_text(door) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    await door.expert("luna")
    text = await (await door.client().get("/metrics")).text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    offline = families["parlour_experts"].samples[0]
    assert (offline.labels, offline.value) == ({"state": "offline"}, 1)
    assert families["parlour_ws_connections"].samples[0].value == 0
    assert "parlour_media_packets_forwarded" in families
