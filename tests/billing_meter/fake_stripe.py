"""A local fake of Stripe's HTTP interface, as far as Parlour uses it, with faults on demand.

It keeps objects as JSON the way Stripe sends them, replays idempotency keys (errors of the server
included), refuses a key with other parameters, and serves a page on which a browser pays.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import ClientSession, web

KEY = "sk_test_fake"
SECRET = "whsec_fake"
DECLINES = {
    "pm_poor": ("card_declined", "insufficient_funds"),
    "pm_old": ("expired_card", None),
    "pm_blocked": ("card_declined", "do_not_honor"),
    "pm_odd": ("card_declined", "lost_card"),
    "pm_absent": ("authentication_required", "authentication_required"),
}
PAGE = """<!doctype html><title>Pay</title><h1>Pay %(amount)s</h1>
<form method=post><button name=card value=pm_ok>Pay</button>
<button name=card value=pm_poor>Pay with an empty card</button></form>
<a href="%(cancel)s">Back</a>"""


class FakeStripe:
    """Start with `start()`; `url` is the base of the interface and of the payment pages."""

    def __init__(self, now_s: Callable[[], int]) -> None:
        self.now_s = now_s
        self.url = ""
        self.sessions: dict[str, dict[str, Any]] = {}
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, dict[str, Any]] = {}
        self.faults: deque[str] = deque()
        """For the next requests: `lost` (done, but no answer), `reset` (not done), `garbage`, or
        a status. Idempotent replays of 500 are kept, as Stripe keeps them."""
        self.refuses_refunds = False
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.webhook_url = ""
        self.webhook_when = "never"
        """`before` the browser is sent back, or `never` by itself."""
        self.statement = "PRL SERVICES"
        self._keys: dict[str, tuple[dict[str, str], int, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._api)
        app.router.add_get("/pay/{session}", self._page)
        app.router.add_post("/pay/{session}", self._paid)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    # --- what a test does ------------------------------------------------------------------

    @property
    def session(self) -> dict[str, Any]:
        """The newest checkout."""
        return list(self.sessions.values())[-1]

    def pay(self, session_id: str, card: str = "pm_ok") -> bool:
        """The member pays on the page; a decline leaves it open."""
        session = self.sessions[session_id]
        assert session["status"] == "open"
        intent = self.intents.get(session["payment_intent"] or "")
        if intent is None:
            intent = self._intent(session["amount_total"], session["currency"], "")
            intent["metadata"] = session["_intent_metadata"]
            session["payment_intent"] = intent["id"]
        if session["customer"] is None and session["_creates_customer"]:
            session["customer"] = f"cus_{next(self._numbers)}"
        intent["customer"] = session["customer"]
        if self._attempt(intent, card):
            session |= {"status": "complete", "payment_status": "paid", "url": None}
            return True
        return False

    def expire(self, session_id: str) -> None:
        self.sessions[session_id] |= {"status": "expired", "url": None}

    def refund(self, intent_id: str, amount: int) -> None:
        charge = self.charges[self.intents[intent_id]["latest_charge"]]
        charge["amount_refunded"] += amount

    def dispute(self, intent_id: str, status: str = "needs_response") -> dict[str, Any]:
        dispute = {
            "id": f"dp_{next(self._numbers)}",
            "object": "dispute",
            "status": status,
            "amount": self.intents[intent_id]["amount"],
            "payment_intent": intent_id,
        }
        self.disputes[dispute["id"]] = dispute
        return dispute

    def event(
        self,
        kind: str,
        subject: str,
        *,
        event_id: str | None = None,
        secret: str = SECRET,
        at_s: int | None = None,
    ) -> tuple[bytes, str]:
        """A signed webhook: body and header."""
        number = event_id or f"evt_{next(self._numbers)}"
        body = json.dumps(
            {"id": number, "object": "event", "type": kind, "data": {"object": {"id": subject}}},
            indent=2,
        ).encode()
        timestamp = str(self.now_s() if at_s is None else at_s)
        digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
        return body, f"t={timestamp},v1={digest.hexdigest()}"

    async def send(self, kind: str, subject: str) -> int:
        """Deliver a webhook over HTTP; gives the status of the answer."""
        body, signature = self.event(kind, subject)
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        async with (
            ClientSession() as client,
            client.post(self.webhook_url, data=body, headers=headers) as reply,
        ):
            return reply.status

    # --- the interface ----------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.StreamResponse:
        params = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        path = request.match_info["path"]
        self.requests.append((request.method, path, params))
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return self._error(401, "invalid_request_error", "api_key_invalid")
        fault = self.faults.popleft() if self.faults else ""
        if fault == "reset":
            _drop(request)
        if fault == "garbage":
            return web.Response(text="<html>502</html>", status=200)
        key = request.headers.get("Idempotency-Key")
        if fault in ("409", "429"):  # these are not kept under the key
            return self._error(int(fault), "invalid_request_error", "lock_timeout")
        status, content, replayed = self._keyed(key, request.method, path, params, fault)
        if fault == "lost":
            _drop(request)
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return web.json_response(content, status=status, headers=headers)

    def _keyed(
        self, key: str | None, method: str, path: str, params: dict[str, str], fault: str
    ) -> tuple[int, dict[str, Any], bool]:
        if key in self._keys:
            known, status, content = self._keys[key]
            if known != params:
                return 400, _fault("idempotency_error", "idempotency_key_in_use"), False
            return status, content, True
        if fault:
            content = _fault("api_error", "internal")
            status = 500 if fault == "lost" else int(fault)
        if not fault or fault == "lost":
            status, content = self._do(method, path, params)
        content = json.loads(json.dumps(content))
        if key is not None and method == "POST" and status != 400:
            self._keys[key] = (params, status, content)
        return status, content, False

    def _do(self, method: str, path: str, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match method, path.split("/"):
            case "POST", ["checkout", "sessions"]:
                return self._new_session(params)
            case "POST", ["checkout", "sessions", session_id, "expire"]:
                session = self.sessions[session_id]
                if session["status"] != "open":
                    return 400, _fault("invalid_request_error", "not_open")
                self.expire(session_id)
                return 200, self._shown(session)
            case "POST", ["payment_intents"]:
                return self._new_intent(params)
            case "POST", ["payment_intents", intent_id, "cancel"]:
                self.intents[intent_id]["status"] = "canceled"
                return 200, self._shown(self.intents[intent_id])
            case "POST", ["refunds"]:
                if self.refuses_refunds:
                    return 400, _fault("invalid_request_error", "charge_disputed")
                self.refund(params["payment_intent"], int(params["amount"]))
                return 200, {"id": f"re_{next(self._numbers)}", "object": "refund"}
            case "GET", ["payment_intents"]:
                return 200, {
                    "object": "list",
                    "data": [self._shown(i) for i in self.intents.values()],
                }
            case "GET", [*kind, name]:
                shelf = {
                    "checkout/sessions": self.sessions,
                    "payment_intents": self.intents,
                    "charges": self.charges,
                    "disputes": self.disputes,
                }.get("/".join(kind), {})
                if name in shelf:
                    return 200, self._shown(shelf[name])
        return 404, _fault("invalid_request_error", "resource_missing")

    def _new_session(self, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        customer = params.get("customer")
        if customer == "cus_gone":
            return 400, _fault("invalid_request_error", "resource_missing", "customer")
        if params["mode"] == "setup":
            return self._new_setup(params)
        assert params["mode"] == "payment"
        assert params["allowed_payment_method_types[0]"] == "card"
        life_s = int(params["expires_at"]) - self.now_s()
        if not 1_800 <= life_s <= 86_400:
            return 400, _fault("invalid_request_error", "parameter_invalid", "expires_at")
        session_id = f"cs_test_{next(self._numbers)}"
        session = {
            "id": session_id,
            "object": "checkout.session",
            "status": "open",
            "payment_status": "unpaid",
            "url": f"{self.url}/pay/{session_id}",
            "amount_total": int(params["line_items[0][price_data][unit_amount]"]),
            "currency": params["line_items[0][price_data][currency]"],
            "customer": customer,
            "payment_intent": None,
            "expires_at": int(params["expires_at"]),
            "client_reference_id": params["client_reference_id"],
            "metadata": _nested(params, "metadata"),
            "success_url": params["success_url"],
            "cancel_url": params["cancel_url"],
            "_creates_customer": params.get("customer_creation") == "always",
            "_intent_metadata": _nested(params, "payment_intent_data[metadata]"),
        }
        self.sessions[session_id] = session
        return 200, self._shown(session)

    def _new_setup(self, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """A page that validates a card: no amount, no payment."""
        assert params["allowed_payment_method_types[0]"] == "card"
        assert not any("line_items" in name or "payment_intent" in name for name in params)
        session_id = f"cs_test_{next(self._numbers)}"
        self.sessions[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "mode": "setup",
            "status": "open",
            "payment_status": "no_payment_required",
            "url": f"{self.url}/pay/{session_id}",
            "amount_total": None,
            "currency": None,
            "customer": None,
            "payment_intent": None,
            "setup_intent": None,
            "expires_at": int(params["expires_at"]),
            "metadata": _nested(params, "metadata"),
            "success_url": params["success_url"],
            "cancel_url": params["cancel_url"],
        }
        return 200, self._shown(self.sessions[session_id])

    def validate(self, session_id: str, card: str = "pm_ok", status: str = "succeeded") -> None:
        """The member brings a card to a page that charges nothing; a decline leaves it open."""
        session = self.sessions[session_id]
        assert session["status"] == "open"
        intent = {"id": f"seti_{next(self._numbers)}", "object": "setup_intent", "status": status}
        if card in DECLINES:
            code, decline_code = DECLINES[card]
            error = {"code": code, "decline_code": decline_code}
            session["setup_intent"] = intent | {
                "status": "requires_payment_method",
                "last_setup_error": error,
            }
            return
        details = {"fingerprint": f"fp_{card}", "brand": "visa", "last4": "4242"}
        intent["payment_method"] = {"id": card, "object": "payment_method", "card": details}
        session |= {"status": "complete", "url": None, "setup_intent": intent}

    def _new_intent(self, params: dict[str, str]) -> tuple[int, dict[str, Any]]:
        assert params["confirm"] == params["off_session"] == "true"
        intent = self._intent(int(params["amount"]), params["currency"], params["customer"])
        intent["metadata"] = _nested(params, "metadata")
        card = params["payment_method"]
        if card == "pm_slow":
            intent |= {"status": "processing", "payment_method": card}
        elif card == "pm_action":
            intent |= {"status": "requires_action", "payment_method": card}
        elif not self._attempt(intent, card):
            error = intent["last_payment_error"] | {"type": "card_error"}
            return 402, {"error": error | {"payment_intent": self._shown(intent)}}
        return 200, self._shown(intent)

    def _intent(self, amount: int, currency: str, customer: str) -> dict[str, Any]:
        intent = {
            "id": f"pi_{next(self._numbers)}",
            "object": "payment_intent",
            "status": "requires_payment_method",
            "amount": amount,
            "currency": currency,
            "created": self.now_s(),
            "customer": customer,
            "payment_method": None,
            "latest_charge": None,
            "last_payment_error": None,
            "metadata": {},
        }
        self.intents[intent["id"]] = intent
        return intent

    def _attempt(self, intent: dict[str, Any], card: str) -> bool:
        if card in DECLINES:
            code, decline_code = DECLINES[card]
            intent["last_payment_error"] = {"code": code, "decline_code": decline_code}
            return False
        charge_id = f"ch_{next(self._numbers)}"
        self.charges[charge_id] = {
            "id": charge_id,
            "object": "charge",
            "payment_intent": intent["id"],
            "amount_refunded": 0,
            "calculated_statement_descriptor": self.statement,
            "payment_method_details": {
                "card": {"fingerprint": f"fp_{card}", "brand": "visa", "last4": "4242"}
            },
        }
        intent |= {"status": "succeeded", "payment_method": card, "latest_charge": charge_id}
        return True

    def _shown(self, thing: dict[str, Any]) -> dict[str, Any]:
        """As Stripe sends it, with what we ask to be expanded."""
        shown = {name: value for name, value in thing.items() if not name.startswith("_")}
        if shown.get("latest_charge"):
            shown["latest_charge"] = self.charges[shown["latest_charge"]]
        if shown["object"] == "checkout.session" and shown["payment_intent"]:
            shown["payment_intent"] = self._shown(self.intents[shown["payment_intent"]])
        return shown

    def _error(self, status: int, kind: str, code: str) -> web.Response:
        return web.json_response(_fault(kind, code), status=status)

    # --- the page ---------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["session"]]
        text = PAGE % {"amount": session["amount_total"], "cancel": session["cancel_url"]}
        return web.Response(text=text, content_type="text/html")

    async def _paid(self, request: web.Request) -> web.Response:
        session = self.sessions[request.match_info["session"]]
        card = str((await request.post())["card"])
        if session.get("mode") == "setup":
            self.validate(session["id"], card)
            raise web.HTTPSeeOther(session["success_url"])
        if not self.pay(session["id"], card):
            return web.Response(
                text=PAGE % {"amount": "again", "cancel": session["cancel_url"]},
                content_type="text/html",
            )
        if self.webhook_when == "before":
            assert await self.send("checkout.session.completed", session["id"]) == 200
        raise web.HTTPSeeOther(session["success_url"])


def _fault(kind: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"type": kind, "code": code, "message": f"fake {code}", "param": param}}


def _nested(params: dict[str, str], name: str) -> dict[str, str]:
    return {
        key.removeprefix(f"{name}[").removesuffix("]"): value
        for key, value in params.items()
        if key.startswith(f"{name}[")
    }


def _drop(request: web.Request) -> None:
    """Cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError
