"""Structured logs without secrets: no SDP, no tokens, no chat text, no full addresses."""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

_SECRET_FIELDS = """
answer authorization body cookie credential email key message offer password resume sdp secret
stream_key text ticket token
"""
SECRET_FIELDS = frozenset(_SECRET_FIELDS.split())
SECRET_TEXT = re.compile(
    r"v=0\r?\n.*"  # a session description, to its end
    r"|a=(?:ice-pwd|ice-ufrag|fingerprint):\S+"
    r"|\bBearer\s+\S+"
    r"|\b(?:pk|ss|gs|rs|tk|sk|whsec)_[A-Za-z0-9_-]{16,}",  # tokens and keys by prefix
    re.DOTALL,
)
IPV4_TEXT = re.compile(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")


def configure(style: Literal["auto", "json", "console"], level: str) -> None:
    """Send every log record of the process, ours and libraries', through the same filter."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, scrub, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.processors.format_exc_info, scrub, structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("aioice", "aiortc", "aiosqlite", "asyncio", "aiohttp.access", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def scrub(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Blank fields that are secret by name, and secrets and addresses inside other texts."""
    for name, value in event.items():
        if name in SECRET_FIELDS:
            event[name] = "(hidden)"
        elif isinstance(value, str):
            event[name] = scrubbed(value)
    return event


def scrubbed(text: str) -> str:
    """One text without secrets, full IPv4 addresses and control characters."""
    text = SECRET_TEXT.sub("(hidden)", text)
    text = IPV4_TEXT.sub(_short_ipv4, text)
    return CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def short_address(address: str) -> str:
    """An address for logs: the network it is in, /24 or /48."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "?"
    bits = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, bits), strict=False))


def _short_ipv4(match: re.Match[str]) -> str:
    text = match.group()
    return text if text.startswith("127.") or text == "0.0.0.0" else f"{match.group(1)}.x"
