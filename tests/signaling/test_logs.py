"""Logs keep secrets, addresses and line breaks of strangers out."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from signaling import logs

SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.77\r\na=ice-pwd:canarycanarycanary\r\n"


@pytest.fixture
def written(monkeypatch):
    """What is written to standard error; the root logger is put back afterwards."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure("json", "info")
    yield stream
    root.handlers, root.level = before, level
    structlog.reset_defaults()


def test_fields_and_texts_are_scrubbed(written: io.StringIO) -> None:
    structlog.get_logger("t").info(
        "offer came",
        sdp=SDP,
        token="abc",
        line=f"answer was {SDP}",
        header="Authorization: Bearer canary.jwt.token",
        cookie_text="parlour_session=ss_canarycanarycanarycanary",
        stream="OBS sent sk_canarycanarycanarycanary",
        card="sk_live_canarycanarycanary refused, whsec_canarycanarycanary too",
        address="203.0.113.77 asked",
    )
    text = written.getvalue()
    for canary in ("canary", "192.0.2.77", "203.0.113.77", "abc"):
        assert canary not in text
    assert json.loads(text)["address"] == "203.0.113.x asked"


def test_libraries_go_through_the_same_filter(written: io.StringIO) -> None:
    logging.getLogger("some.library").warning("peer %s said %s", "203.0.113.77", SDP)
    assert "203.0.113.77" not in written.getvalue()
    assert "canary" not in written.getvalue()


def test_exceptions_are_scrubbed(written: io.StringIO) -> None:
    try:
        raise ValueError(f"bad offer {SDP}")
    except ValueError:
        structlog.get_logger("t").exception("failed")
    assert "ValueError" in written.getvalue()
    assert "canary" not in written.getvalue()


def test_one_event_stays_one_line(written: io.StringIO) -> None:
    structlog.get_logger("t").info("name", name="a\nINFO forged\x1b[31m")
    assert written.getvalue().count("\n") == 1
    assert "\x1b" not in written.getvalue()


@pytest.mark.parametrize(
    ("address", "short"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("x", "?")],
)
def test_short_address(address: str, short: str) -> None:
    assert logs.short_address(address) == short
