"""Accounts, sign-in and sign-out, who am I, and the one-time ticket of the WebSocket."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from billing_meter.ledger_store import utc_ms
from rooms.roles import Visitor
from signaling import wire, wire_out
from signaling.accounts import (
    Account,
    NameTaken,
    NewAccount,
    email_fault,
    folded,
    name_fault,
)
from signaling.client_address import address_key
from signaling.identity import Identity, guest_visitor, new_guest_token
from signaling.passwords import weakness
from signaling.problem import Problem
from signaling.routing import Call, Route, json_reply
from signaling.services import take, take_for_address

Password = Annotated[str, Meta(min_length=1, max_length=256)]


class SignUp(Struct, forbid_unknown_fields=True, kw_only=True):
    """A new member. `premium_wanted` leads the browser to the wallet; it gives no right yet."""

    username: Annotated[str, Meta(min_length=1, max_length=64)]
    email: Annotated[str, Meta(min_length=3, max_length=254)]
    password: Password
    premium_wanted: bool = False


class Login(Struct, forbid_unknown_fields=True, kw_only=True):
    """Name and password of a member or an expert."""

    username: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Password


class YouReply(Struct, kw_only=True):
    """Who is signed in now."""

    you: wire.You


class MeReply(Struct, kw_only=True):
    """Who is signed in, if anybody; `balance` is a member's, `staff` a role beside the kind."""

    you: wire.You | None
    balance: wire.Balance | None
    staff: bool = False


class TicketReply(Struct, kw_only=True):
    """A one-time ticket for `hello`, and for how long it is good."""

    ticket: str
    expires_s: int


async def sign_up(call: Call) -> web.Response:
    """Make a member account and sign in to it."""
    _check_may_sign_in(call)
    body = await call.json(SignUp)
    fault = name_fault(body.username)
    if fault is not None:
        raise Problem(422, "bad_username", fault)
    fault = email_fault(body.email)
    if fault is not None:
        raise Problem(422, "bad_email", fault)
    fault = weakness(body.password, body.username)
    if fault is not None:
        raise Problem(422, "weak_password", fault)
    take_for_address(call.services.limits.sign_ups, call.address, "new accounts")
    new = NewAccount(
        kind="member",
        username=body.username,
        password=body.password,
        email=body.email,
        language=call.language,
        premium_wanted=body.premium_wanted,
    )
    account = await call.services.accounts.add(new)
    if isinstance(account, NameTaken):
        raise Problem(409, "username_taken", "This name is taken.")
    return await _signed_in(call, account, status=201)


async def login(call: Call) -> web.Response:
    """Sign in; the same answer, after the same work, whatever of the two was wrong."""
    _check_may_sign_in(call)
    body = await call.json(Login)
    limits, name = call.services.limits, folded(body.username)
    take_for_address(limits.logins_by_address, call.address, "attempts to sign in")
    take(
        limits.logins_by_account_and_address,
        f"{name} {address_key(call.address)}",
        "attempts to sign in",
    )
    take(limits.logins_by_account, name, "attempts to sign in")
    account = await call.services.accounts.check_login(body.username, body.password)
    if account is None:
        raise Problem(401, "wrong_credentials", "The name or the password is wrong.")
    return await _signed_in(call, account, status=200)


async def logout(call: Call) -> web.Response:
    """End the session, its WebSockets and their media."""
    response = web.Response(status=204)
    await call.services.identities.sign_out(call.request, response)
    if call.identity is not None:
        visitor = call.identity.visitor(call.language)
        call.services.tickets.revoke(visitor)
        call.services.hub.send_away(visitor.kind, visitor.account_id)
    return response


async def reset(call: Call) -> web.Response:
    """Sign out and make the browser forget everything that it keeps of this site."""
    response = await logout(call)
    response.headers["Clear-Site-Data"] = '"cache", "cookies", "storage"'
    return response


async def me(call: Call) -> web.Response:
    """Who is signed in."""
    if call.identity is None:
        return json_reply(MeReply(you=None, balance=None))
    you = await _you(call, call.identity.account)
    balance = None
    if call.identity.account.kind == "member":
        balance = wire_out.balance(
            await call.services.wallet.balance(call.identity.account.account_id)
        )
    return json_reply(MeReply(you=you, balance=balance, staff=call.identity.account.staff))


async def ws_ticket(call: Call) -> web.Response:
    """A ticket for the WebSocket; a visitor without account becomes a guest."""
    take_for_address(call.services.limits.guests, call.address, "connections")
    new_guest: str | None = None
    visitor: Visitor
    if call.identity is not None:
        visitor = call.identity.visitor(call.language)
    elif (grant := call.services.identities.guest_grant(call.request)) is not None:
        visitor = guest_visitor(grant.sub, grant.name, call.language)
    else:
        token = call.services.identities.guest_token(call.request)
        if token is None:
            token = new_guest = new_guest_token()
        visitor = guest_visitor(token, "", call.language)
    ticket = call.services.tickets.issue(visitor)
    response = json_reply(TicketReply(ticket=ticket.token, expires_s=ticket.expires_s))
    if new_guest is not None:
        call.services.identities.set_guest(call.request, response, new_guest)
    return response


def _check_may_sign_in(call: Call) -> None:
    """Over plain HTTP from another machine the password would be readable on the way."""
    if not call.services.identities.may_sign_in(call.request):
        raise Problem(
            403,
            "https_required",
            "Signing in needs HTTPS. Start the server with --tls self-signed, or use localhost.",
        )


async def _signed_in(call: Call, account: Account, status: int) -> web.Response:
    response = json_reply(YouReply(you=await _you(call, account)), status)
    await call.services.identities.sign_in(call.request, response, account.account_id)
    return response


async def _you(call: Call, account: Account) -> wire.You:
    visitor = Identity(account).visitor(account.language)
    standing = await call.services.directory.standing(visitor)
    return wire_out.you(visitor, standing, utc_ms(call.services.utc_now()))


ROUTES = (
    Route(
        "POST",
        "/api/v1/accounts",
        sign_up,
        "Make a member account and sign in",
        body=SignUp,
        reply=YouReply,
        status=201,
        refusals=(
            "422 bad_username",
            "422 bad_email",
            "422 weak_password",
            "409 username_taken",
            "403 https_required",
            "429 rate_limited",
        ),
    ),
    Route(
        "POST",
        "/api/v1/login",
        login,
        "Sign in",
        body=Login,
        reply=YouReply,
        refusals=("401 wrong_credentials", "403 https_required", "429 rate_limited"),
    ),
    Route("POST", "/api/v1/logout", logout, "Sign out", status=204),
    Route("POST", "/api/v1/reset", reset, "Sign out and clear this site's data", status=204),
    Route("GET", "/api/v1/me", me, "Who is signed in", reply=MeReply),
    Route(
        "POST",
        "/api/v1/ws-ticket",
        ws_ticket,
        "A one-time ticket for the WebSocket",
        reply=TicketReply,
        refusals=("401 bad_token", "429 rate_limited"),
    ),
)
