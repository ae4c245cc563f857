"""Webhooks of payment providers: raw bytes in, a short word out."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from billing_meter.providers import EventRefused, ProviderUnavailable
from signaling.problem import Problem
from signaling.routing import Access, Call, Route, json_reply

SIGNATURE_HEADER = "Stripe-Signature"
EVENT_BYTES_MAX = 256 * 1024
"""Stripe's events are a few KiB; a session with every field filled is far below this."""
RETRY_AFTER_S = 60

REFUSALS = {
    "signature_missing": (400, "There is no signature."),
    "signature_wrong": (400, "The signature does not fit this endpoint's secret and these bytes."),
    "signature_stale": (400, "The signature is too old, or of the future."),
    "event_invalid": (400, "This is not an event."),
    "object_unknown": (422, "The provider does not know the object of this event."),
    "order_mismatch": (422, "The payment is not this order's."),
    "payment_mismatch": (422, "Another amount or currency was paid than was ordered."),
}
"""Every code of EventRefused, with status and text."""


class WebhookReply(Struct, kw_only=True):
    """`applied`, `duplicate` or `ignored`: in all three the event need not come again."""

    outcome: str


async def stripe_event(call: Call) -> web.Response:
    """Take a signed event. Other answers than 200 make the provider send it again."""
    webhooks = call.services.webhooks
    if webhooks is None or webhooks.provider != "stripe":
        raise Problem(404, "not_found", "There is nothing at this address.")
    body = await call.body(EVENT_BYTES_MAX)
    signature = call.request.headers.get(SIGNATURE_HEADER, "")
    try:
        outcome = await webhooks.take(body, signature)
    except EventRefused as refused:
        status, detail = REFUSALS[refused.code]
        raise Problem(status, refused.code, detail) from None
    except ProviderUnavailable:
        raise Problem(
            503,
            "provider_unavailable",
            "The provider could not be asked; send it again.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from None
    return json_reply(WebhookReply(outcome=outcome))


ROUTES = (
    Route(
        "POST",
        "/api/v1/webhooks/stripe",
        stripe_event,
        "An event from Stripe",
        access=Access.PROVIDER,
        body="application/json",
        reply=WebhookReply,
        headers=(SIGNATURE_HEADER,),
        refusals=(
            "400 signature_missing",
            "400 signature_wrong",
            "400 signature_stale",
            "400 event_invalid",
            "404 not_found",
            "413 too_large",
            "422 object_unknown",
            "422 order_mismatch",
            "422 payment_mismatch",
            "503 provider_unavailable",
        ),
    ),
)
