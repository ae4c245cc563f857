"""The line to Stripe: the official library's requests, and what their failures mean.

Nothing is sent at import or construction. Secrets are in no log and no text of an exception.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import aiohttp
import msgspec
import stripe
from msgspec import Struct

from billing_meter.providers import ProviderUnavailable

ANSWER_S = 20.0
"""Stripe says it may take this long with banks behind it; then the outcome is unknown."""
CHECKOUT_LIFE_S = 3_600
"""How long a page of Stripe's takes cards; Stripe allows 30 minutes to 24 hours."""
CHECKOUT_ASK_S = 1_500
"""Until when an unanswered page is asked for again: it must still have its 30 minutes."""

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """What an account needs. `descriptor_prefix` is the account's prefix for card payments.

    Without one, cards are charged under the account's own descriptor, which must be `descriptor`;
    with one, statements say "PREFIX* DESCRIPTOR".
    """

    secret_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    descriptor: str
    descriptor_prefix: str = ""
    api_base: str = ""


class Refused(Exception):
    """Stripe understood the request and will not do it; nothing happened."""

    def __init__(self, code: str, param: str) -> None:
        super().__init__(f"{code} {param}")
        self.code, self.param = code, param


class KeyMoved(Exception):
    """The idempotency key belongs to a request with other parameters."""


class StripeLine:
    """One account's connections. Idempotency keys are the callers'."""

    def __init__(self, settings: StripeSettings, utc_now: Callable[[], datetime]) -> None:
        logging.getLogger("stripe").setLevel(logging.WARNING)  # it would log bodies of requests
        self._api_base = settings.api_base
        self._utc_now = utc_now
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        self.client = stripe.StripeClient(
            settings.secret_key,
            http_client=self._http,
            max_network_retries=0,  # orders ask again themselves, and remember that they must
            base_addresses={"api": settings.api_base} if settings.api_base else None,
        )
        self._asked = False

    async def close(self) -> None:
        """Close the connections."""
        if self._asked:
            await self._http.close_async()  # type: ignore[no-untyped-call]

    def now_s(self) -> int:
        """UTC seconds."""
        return int(self._utc_now().timestamp())

    def is_page(self, url: str) -> bool:
        """Whether people may be sent there."""
        return url.startswith("https://") or (
            bool(self._api_base) and url.startswith(self._api_base)
        )

    async def ask(self, request: Awaitable[stripe.StripeObject], kind: type[T]) -> tuple[T, bool]:
        """The answer, and whether it is an earlier one repeated for its idempotency key.

        CardError passes; other refusals become Refused or KeyMoved; all the rest is an unknown
        outcome.
        """
        self._asked = True
        try:
            answer = await request
            response = answer.last_response
            assert response is not None
            content = msgspec.json.decode(response.body, type=kind)
        except stripe.CardError:
            raise
        except stripe.IdempotencyError:
            raise KeyMoved from None
        except stripe.InvalidRequestError as error:
            raise Refused(str(error.code), str(error.param)) from None
        except stripe.StripeError as error:
            # Its text may repeat what was sent (a wrong key is named in part).
            text = f"{type(error).__name__}, status {error.http_status}, request {error.request_id}"
            log.warning("Stripe gave no answer: %s", text)
            raise ProviderUnavailable(text) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProviderUnavailable(type(error).__name__) from None
        except msgspec.MsgspecError as error:
            log.error("an answer of Stripe cannot be read: %s", error)
            raise ProviderUnavailable("unreadable answer") from None
        return content, response.headers.get("idempotent-replayed") == "true"
