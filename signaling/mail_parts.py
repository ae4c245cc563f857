"""What mails are made of: a letter's parts, and amounts and instants as a language writes them."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from babel.dates import format_datetime
from babel.numbers import format_currency, format_decimal, get_currency_precision

from billing_meter.outbox import Facts
from billing_meter.units import credits_text
from rooms.roles import Language

LOCALES: Mapping[Language, str] = {"en": "en_GB", "nb": "nb_NO"}


@dataclass(frozen=True, slots=True)
class Site:
    """What every mail names: the site, and where people get help."""

    name: str
    support: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's words. `rows` are label and value; neither form of it adds anything."""

    language: Language
    subject: str
    greeting: str
    lead: str
    rows: tuple[tuple[str, str], ...]
    closing: tuple[str, ...]


def as_text(made: Letter) -> str:
    """Plain text: labels in a column, a blank line between parts."""
    width = max((len(label) for label, _ in made.rows), default=0) + 2
    rows = "\n".join(f"{label + ':':<{width}}{value}" for label, value in made.rows)
    return "\n\n".join([made.greeting, made.lead, rows, *made.closing]) + "\n"


def as_html(made: Letter) -> str:
    """The same as HTML, without pictures, links or scripts."""
    cell = 'style="text-align:left;vertical-align:top;padding:2px 16px 2px 0"'
    rows = "".join(
        f"<tr><th {cell}>{html.escape(label)}</th><td {cell}>{html.escape(value)}</td></tr>\n"
        for label, value in made.rows
    )
    closing = "".join(f"<p>{html.escape(text)}</p>\n" for text in made.closing)
    return (
        f'<!doctype html>\n<html lang="{made.language}">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(made.subject)}</title></head>\n<body>\n"
        f"<p>{html.escape(made.greeting)}</p>\n<p>{html.escape(made.lead)}</p>\n"
        f"<table>\n{rows}</table>\n{closing}</body>\n</html>\n"
    )


def money_text(minor: int, currency: str, language: Language) -> str:
    """A price for people: 2799 EUR → €27.99, or 27,99 € in Norwegian."""
    value = Decimal(minor).scaleb(-get_currency_precision(currency))
    return str(format_currency(value, currency, locale=LOCALES[language]))


def credits_shown(units: int, language: Language) -> str:
    """Credits with two decimals, as the language writes numbers."""
    return str(
        format_decimal(Decimal(credits_text(units)), format="#,##0.00", locale=LOCALES[language])
    )


def instant_text(at_ms: int, language: Language) -> str:
    """A UTC instant for people, to the second."""
    at = dt.datetime.fromtimestamp(at_ms // 1000, dt.UTC)
    return f"{format_datetime(at, 'd MMMM yyyy HH:mm:ss', locale=LOCALES[language])} UTC"


def number(facts: Facts, name: str) -> int:
    """A fact that is a number; TypeError if it is not."""
    value = facts[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is not a number")
    return value


def text(facts: Facts, name: str) -> str:
    """A fact that is a text; TypeError if it is not."""
    value = facts[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a text")
    return value


METHODS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "card": "Payment card",
        "pay_by_phone": "Pay by phone",
        "paysafecard": "Paysafecard",
        "bitcoin": "Bitcoin",
        "gift_card": "Gift card",
    },
    "nb": {
        "card": "Betalingskort",
        "pay_by_phone": "Betal med telefonen",
        "paysafecard": "Paysafecard",
        "bitcoin": "Bitcoin",
        "gift_card": "Gavekort",
    },
}
"""Ways to pay; one without a name here is shown by its id."""
