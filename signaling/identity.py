"""Who is asking: a bearer token, a session cookie, or the anonymous cookie of a guest."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from aiohttp import web

from rooms.roles import Language, Visitor, VisitorKind
from signaling.accounts import Account, Accounts
from signaling.config import Config, is_loopback
from signaling.problem import Problem
from signaling.sessions import Sessions, token_hash
from signaling.tokens import Grant, Tokens

SESSION_COOKIE = "parlour_session"
GUEST_COOKIE = "parlour_guest"
LANGUAGE_COOKIE = "lang"
HOST_PREFIX = "__Host-"
"""Makes browsers refuse the cookie from subdomains and from plain HTTP (RFC 6265bis §4.1.3.2)."""
GUEST_DAYS = 1
YEAR_S = 365 * 86_400
GUEST_TOKEN = re.compile(r"gs_[A-Za-z0-9_-]{22}")
ACCEPTED_LANGUAGE = re.compile(r"\s*([A-Za-z]{2})[A-Za-z-]*\s*(?:;\s*q\s*=\s*([0-9.]{1,5}))?\s*")


@dataclass(frozen=True, slots=True)
class Identity:
    """An account that is signed in, by a cookie or a bearer token."""

    account: Account

    def visitor(self, language: Language) -> Visitor:
        """The account as the rooms know it."""
        return Visitor(
            VisitorKind(self.account.kind),
            self.account.account_id,
            self.account.username,
            language,
        )


class Identities:
    """Reads identities from requests and writes them as cookies."""

    def __init__(
        self, config: Config, accounts: Accounts, sessions: Sessions, tokens: Tokens
    ) -> None:
        self._config = config
        self._accounts = accounts
        self._sessions = sessions
        self._tokens = tokens

    async def of(self, request: web.Request) -> Identity | None:
        """The account behind a request. A bearer token counts alone, never with a cookie."""
        bearer = bearer_token(request)
        if bearer is not None:
            return await self._of_bearer(bearer)
        cookie = request.cookies.get(self._name(request, SESSION_COOKIE))
        account_id = await self._sessions.account_id(cookie) if cookie else None
        account = await self._accounts.by_id(account_id) if account_id else None
        return None if account is None else Identity(account)

    async def _of_bearer(self, bearer: str) -> Identity | None:
        """A token that is not ours is refused, never taken for an anonymous visitor's."""
        grant = self._tokens.read(bearer)
        if grant is not None and grant.role == "guest":
            return None
        account = await self._accounts.by_id(grant.sub) if grant is not None else None
        if account is None:
            raise Problem(
                401,
                "bad_token",
                "The bearer token is not valid, or no longer.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return Identity(account)

    def guest_grant(self, request: web.Request) -> Grant | None:
        """The guest that a bearer token speaks for, if it is a guest's."""
        bearer = bearer_token(request)
        grant = self._tokens.read(bearer) if bearer is not None else None
        return grant if grant is not None and grant.role == "guest" else None

    def guest_token(self, request: web.Request) -> str | None:
        """The guest cookie, if it is one of ours."""
        token = request.cookies.get(self._name(request, GUEST_COOKIE), "")
        return token if GUEST_TOKEN.fullmatch(token) else None

    def set_guest(self, request: web.Request, response: web.Response, token: str) -> None:
        """Remember the guest in this browser for a day, so that a reconnect finds its place."""
        self._set(request, response, GUEST_COOKIE, token, GUEST_DAYS * 86_400)

    async def sign_in(self, request: web.Request, response: web.Response, account_id: str) -> None:
        """Open a session under a new id; what the browser presented before is dead."""
        await self._end_session(request)
        token = await self._sessions.open(account_id)
        self._set(request, response, SESSION_COOKIE, token, self._sessions.lifetime_s)

    async def sign_out(self, request: web.Request, response: web.Response) -> None:
        """End the session in the store and in the browser."""
        await self._end_session(request)
        name = self._name(request, SESSION_COOKIE)
        response.del_cookie(
            name, path="/", secure=self.secure(request), httponly=True, samesite="Lax"
        )

    def set_language(
        self, request: web.Request, response: web.StreamResponse, language: Language
    ) -> None:
        """Remember the language chosen with `?lang=`."""
        response.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=YEAR_S,
            path="/",
            secure=self.secure(request),
            samesite="Lax",
        )

    def secure(self, request: web.Request) -> bool:
        """Whether this request came over TLS, ours or that of the proxy in front."""
        return self._config.serves_tls or self._config.server.public_url.startswith("https://")

    def may_sign_in(self, request: web.Request) -> bool:
        """Passwords cross TLS or stay on this machine, nothing else."""
        return self.secure(request) or is_loopback(request.url.host or "")

    async def _end_session(self, request: web.Request) -> None:
        cookie = request.cookies.get(self._name(request, SESSION_COOKIE))
        if cookie:
            await self._sessions.end(cookie)

    def _name(self, request: web.Request, base: str) -> str:
        return HOST_PREFIX + base if self.secure(request) else base

    def _set(
        self, request: web.Request, response: web.Response, base: str, value: str, age_s: int
    ) -> None:
        response.set_cookie(
            self._name(request, base),
            value,
            max_age=age_s,
            path="/",
            secure=self.secure(request),
            httponly=True,
            samesite="Lax",
        )


def bearer_token(request: web.Request) -> str | None:
    """The token of `Authorization: Bearer …`, or None."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def new_guest_token() -> str:
    """A guest's cookie: 128 random bits."""
    return "gs_" + secrets.token_urlsafe(16)


def guest_visitor(seed: str, name: str, language: Language) -> Visitor:
    """A guest as the rooms know it. The seed stays secret; the id is made from its hash."""
    digest = token_hash(seed)
    return Visitor(
        VisitorKind.GUEST,
        "g_" + digest[:24],
        name or f"Guest {int(digest[:8], 16) % 10_000:04}",
        language,
    )


def language_of(request: web.Request, account: Account | None = None) -> Language:
    """`?lang=`, then the cookie, then the account, then Accept-Language, then English."""
    for text in (request.query.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        chosen = _language(text or "")
        if chosen is not None:
            return chosen
    if account is not None:
        return account.language
    accepted: list[tuple[float, Language]] = []
    for part in request.headers.get("Accept-Language", "").split(",")[:20]:
        match = ACCEPTED_LANGUAGE.fullmatch(part)
        language = _language(match.group(1)) if match else None
        if match is not None and language is not None:
            accepted.append((_quality(match.group(2)), language))
    return max(accepted, key=lambda pair: pair[0])[1] if accepted else "en"


def _language(text: str) -> Language | None:
    """Norwegian comes as nb, no or nn; all get Bokmål."""
    match text.lower()[:2]:
        case "nb" | "no" | "nn":
            return "nb"
        case "en":
            return "en"
        case _:
            return None


def _quality(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0
