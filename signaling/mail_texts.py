"""What the mails say, in English and Norwegian: one letter, written as plain text and as HTML."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable, Mapping
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


class UnknownKind(ValueError):
    """There are no words for this kind of mail, or its facts are not what they should be."""


Writer = Callable[[Language, Facts, Site], Letter]


def letter(kind: str, language: Language, username: str, facts: Facts, site: Site) -> Letter:
    """The words of one mail; UnknownKind when there are none for it."""
    writer = WRITERS.get(kind)
    if writer is None:
        raise UnknownKind(f"no words for mails of kind {kind!r}")
    try:
        return writer(language, {**facts, "username": username}, site)
    except (KeyError, TypeError) as error:
        raise UnknownKind(f"the facts of a {kind} are not complete: {error}") from error


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


def _receipt(language: Language, facts: Facts, site: Site) -> Letter:
    words = RECEIPT[language]
    amount = credits_shown(_number(facts, "credits_units"), language)
    rows = _order_rows(words, facts, language)
    rows.insert(0, (words["credits"], amount))
    rows.append((words["settled"], instant_text(_number(facts, "settled_at_ms"), language)))
    rows.append((words["statement"], _text(facts, "descriptor")))
    lead = words["lead_reload" if facts["origin"] == "auto_reload" else "lead"]
    return Letter(
        language=language,
        subject=words["subject"].format(amount=amount, site=site.name),
        greeting=words["greeting"].format(name=_text(facts, "username")),
        lead=lead.format(amount=amount),
        rows=tuple(rows),
        closing=(words["bank"], words["help"].format(support=site.support), site.name),
    )


def _failure(language: Language, facts: Facts, site: Site) -> Letter:
    words = FAILURE[language]
    reasons = FAILURE_REASONS[language]
    reason = reasons.get(_text(facts, "reason"), reasons["other"])
    amount = credits_shown(_number(facts, "credits_units"), language)
    lead = words["lead_reload" if facts["origin"] == "auto_reload" else "lead"]
    return Letter(
        language=language,
        subject=words["subject"].format(site=site.name),
        greeting=words["greeting"].format(name=_text(facts, "username")),
        lead=lead.format(amount=amount),
        rows=((words["reason"], reason), *_order_rows(words, facts, language)),
        closing=(words["nothing"], words["help"].format(support=site.support), site.name),
    )


def _order_rows(
    words: Mapping[str, str], facts: Facts, language: Language
) -> list[tuple[str, str]]:
    currency = _text(facts, "currency")
    method = _text(facts, "method")
    rows = [
        (words["price"], money_text(_number(facts, "price_minor"), currency, language)),
        (words["method"], METHODS[language].get(method, method)),
        (words["order"], _text(facts, "order")),
        (words["ordered"], instant_text(_number(facts, "created_at_ms"), language)),
    ]
    list_minor = facts.get("list_price_minor")
    if isinstance(list_minor, int) and list_minor > _number(facts, "price_minor"):
        rows.insert(1, (words["list_price"], money_text(list_minor, currency, language)))
    return rows


def _number(facts: Facts, name: str) -> int:
    value = facts[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is not a number")
    return value


def _text(facts: Facts, name: str) -> str:
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

RECEIPT: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject": "{site}: receipt for {amount} credits",
        "greeting": "Hello {name},",
        "lead": "Thank you. {amount} credits are on your account.",
        "lead_reload": "Auto-reload has bought {amount} credits for you.",
        "credits": "Credits",
        "price": "Paid",
        "list_price": "Regular price",
        "method": "Paid with",
        "order": "Order",
        "ordered": "Ordered",
        "settled": "Settled",
        "statement": "On your statement",
        "bank": "Your bank may show the payment some days later than it was made.",
        "help": "Questions? {support}",
    },
    "nb": {
        "subject": "{site}: kvittering for {amount} kreditter",
        "greeting": "Hei {name},",
        "lead": "Takk. {amount} kreditter står på kontoen din.",
        "lead_reload": "Automatisk påfyll har kjøpt {amount} kreditter til deg.",
        "credits": "Kreditter",
        "price": "Betalt",
        "list_price": "Vanlig pris",
        "method": "Betalt med",
        "order": "Bestilling",
        "ordered": "Bestilt",
        "settled": "Gjort opp",
        "statement": "På kontoutskriften",
        "bank": "Banken kan vise betalingen noen dager etter at den ble gjort.",
        "help": "Spørsmål? {support}",
    },
}

FAILURE: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject": "{site}: your purchase did not go through",
        "greeting": "Hello {name},",
        "lead": "Your purchase of {amount} credits did not go through.",
        "lead_reload": "Auto-reload could not buy {amount} credits for you.",
        "reason": "Reason",
        "price": "Price",
        "list_price": "Regular price",
        "method": "Way to pay",
        "order": "Order",
        "ordered": "Ordered",
        "nothing": "No credits were added, and you do not pay for this order.",
        "help": "If you need help, answer this mail or write to: {support}",
    },
    "nb": {
        "subject": "{site}: kjøpet ditt gikk ikke gjennom",
        "greeting": "Hei {name},",
        "lead": "Kjøpet ditt av {amount} kreditter gikk ikke gjennom.",
        "lead_reload": "Automatisk påfyll kunne ikke kjøpe {amount} kreditter til deg.",
        "reason": "Årsak",
        "price": "Pris",
        "list_price": "Vanlig pris",
        "method": "Betalingsmåte",
        "order": "Bestilling",
        "ordered": "Bestilt",
        "nothing": "Ingen kreditter ble lagt til, og du betaler ikke for denne bestillingen.",
        "help": "Trenger du hjelp, svar på denne e-posten eller skriv til: {support}",
    },
}

FAILURE_REASONS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "funds": "There was not enough money on the card, or it is over its limit.",
        "card_expired": "The card has expired; check its date.",
        "bank_blocked": "The bank blocked the payment. Banks do this with online payments that "
        "come unusually often; yours can tell you more.",
        "needs_action": "The bank wants you to confirm the payment. Buy in the wallet: there it "
        "can ask you.",
        "other": "The payment was declined. Try another card or another way to pay.",
    },
    "nb": {
        "funds": "Det var ikke nok penger på kortet, eller grensen er nådd.",
        "card_expired": "Kortet er utløpt; sjekk datoen.",
        "bank_blocked": "Banken stoppet betalingen. Banker gjør det med nettbetalinger som kommer "
        "uvanlig ofte; din bank kan fortelle mer.",
        "needs_action": "Banken vil at du bekrefter betalingen. Kjøp i lommeboken, der den kan "
        "spørre deg.",
        "other": "Betalingen ble avvist. Prøv et annet kort eller en annen betalingsmåte.",
    },
}

WRITERS: Mapping[str, Writer] = {"receipt": _receipt, "purchase_failed": _failure}
"""Kind of mail → who writes it. A new kind is one more entry, in both languages."""
