"""The `[stripe]` section: an account's keys, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct
from yarl import URL

SECRET_PREFIXES = ("sk_", "rk_")
LIVE_PREFIXES = ("sk_live_", "rk_live_")
WEBHOOK_PREFIX = "whsec_"


class StripeSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Needed with `money.provider = "stripe"`. `api_base` is for tests against a local fake."""

    secret_key: str = ""
    webhook_secret: str = ""
    descriptor_prefix: Annotated[str, Meta(pattern=r"\A([A-Za-z0-9 .+-]{2,10})?\Z")] = ""
    api_base: str = ""

    def faults(self, *, chosen: bool, production: bool) -> Iterator[str]:
        """What is wrong, each with its key and never with a secret's text."""
        if not chosen:
            if self.secret_key or self.webhook_secret:
                yield 'stripe: keys are set, but money.provider is not "stripe"'
            return
        if not self.secret_key:
            yield 'stripe.secret_key: money.provider = "stripe" needs it'
        elif not self.secret_key.startswith(SECRET_PREFIXES):
            yield "stripe.secret_key: is not a secret key (sk_… or rk_…)"
        if not self.webhook_secret:
            yield "stripe.webhook_secret: without it no webhook can be believed"
        elif not self.webhook_secret.startswith(WEBHOOK_PREFIX):
            yield "stripe.webhook_secret: is not an endpoint's signing secret (whsec_…)"
        if self.api_base and not _is_origin(self.api_base):
            yield f"stripe.api_base: {self.api_base!r} is not an address such as https://host"
        if production and self.api_base:
            yield "stripe.api_base: is for tests"
        if production and not self.secret_key.startswith(LIVE_PREFIXES):
            yield "stripe.secret_key: a test key takes no money"


def _is_origin(text: str) -> bool:
    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.host) and str(url.origin()) == text
