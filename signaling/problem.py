"""Errors of the HTTP API as RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

import http
from collections.abc import Mapping

import msgspec
from aiohttp import web
from msgspec import Struct

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:parlour:problem:"
"""A name and not an address: the type must mean the same on every installation."""


class ProblemDocument(Struct, kw_only=True, omit_defaults=True):
    """RFC 9457 §3; `code` is for programs, `detail` for people, `limit` names an exceeded bound."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    limit: int | None = None


class Problem(Exception):
    """An expected refusal: becomes a problem document and is not logged as a fault."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.limit = limit

    def response(self) -> web.Response:
        """The reply to send."""
        document = ProblemDocument(
            type=TYPE_PREFIX + self.code,
            title=http.HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            limit=self.limit,
        )
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(document),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )


def refused(refusals: Mapping[str, tuple[int, str]], code: str) -> Problem:
    """A refusal of an engine by its code; `refusals` has status and text of every one."""
    status, detail = refusals[code]
    return Problem(status, code, detail)


def too_many(wait_s: float, what: str) -> Problem:
    """429 with Retry-After in whole seconds, at least one."""
    retry_after_s = max(1, int(wait_s + 0.999))
    return Problem(
        429,
        "rate_limited",
        f"Too many {what}. Try again in {retry_after_s} s.",
        headers={"Retry-After": str(retry_after_s)},
    )


def not_signed_in() -> Problem:
    """401 for a request that needs an account."""
    return Problem(
        401,
        "not_signed_in",
        "Sign in first.",
        headers={"WWW-Authenticate": 'Bearer realm="parlour"'},
    )
