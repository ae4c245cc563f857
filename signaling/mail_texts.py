"""What receipts and failures say, in English and Norwegian, and who writes each kind of mail."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from billing_meter import notices, receipts
from billing_meter.outbox import Facts
from rooms.roles import Language
from signaling import mail_notices
from signaling.mail_parts import (
    METHODS,
    Letter,
    Site,
    credits_shown,
    instant_text,
    money_text,
    number,
    text,
)


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


def _receipt(language: Language, facts: Facts, site: Site) -> Letter:
    words = RECEIPT[language]
    amount = credits_shown(number(facts, "credits_units"), language)
    rows = _order_rows(words, facts, language)
    rows.insert(0, (words["credits"], amount))
    rows.append((words["settled"], instant_text(number(facts, "settled_at_ms"), language)))
    rows.append((words["statement"], text(facts, "descriptor")))
    lead = words["lead_reload" if facts["origin"] == "auto_reload" else "lead"]
    return Letter(
        language=language,
        subject=words["subject"].format(amount=amount, site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=lead.format(amount=amount),
        rows=tuple(rows),
        closing=(words["bank"], words["help"].format(support=site.support), site.name),
    )


def _failure(language: Language, facts: Facts, site: Site) -> Letter:
    words = FAILURE[language]
    reasons = FAILURE_REASONS[language]
    reason = reasons.get(text(facts, "reason"), reasons["other"])
    amount = credits_shown(number(facts, "credits_units"), language)
    lead = words["lead_reload" if facts["origin"] == "auto_reload" else "lead"]
    return Letter(
        language=language,
        subject=words["subject"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=lead.format(amount=amount),
        rows=((words["reason"], reason), *_order_rows(words, facts, language)),
        closing=(words["nothing"], words["help"].format(support=site.support), site.name),
    )


def _order_rows(
    words: Mapping[str, str], facts: Facts, language: Language
) -> list[tuple[str, str]]:
    currency = text(facts, "currency")
    method = text(facts, "method")
    rows = [
        (words["price"], money_text(number(facts, "price_minor"), currency, language)),
        (words["method"], METHODS[language].get(method, method)),
        (words["order"], text(facts, "order")),
        (words["ordered"], instant_text(number(facts, "created_at_ms"), language)),
    ]
    list_minor = facts.get("list_price_minor")
    if isinstance(list_minor, int) and list_minor > number(facts, "price_minor"):
        rows.insert(1, (words["list_price"], money_text(list_minor, currency, language)))
    return rows


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

WRITERS: Mapping[str, Writer] = {
    receipts.RECEIPT: _receipt,
    receipts.FAILURE: _failure,
    notices.REFUND_DECIDED: mail_notices.refund_decided,
    notices.PURCHASE_REFUNDED: mail_notices.purchase_refunded,
    notices.MONEY_BACK: mail_notices.money_back,
    notices.RELOAD_OFF: mail_notices.reload_off,
    notices.PAYOUT: mail_notices.payout,
}
"""Kind of mail → who writes it. A new kind is one more entry, in both languages."""
