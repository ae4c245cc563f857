"""Mails that are no receipts, in English and Norwegian: refunds, money that went back, auto-reload.

`mail_texts` lists them; the facts come from `billing_meter.notices`.
"""

from __future__ import annotations

from collections.abc import Mapping

from billing_meter.features import TERMS
from billing_meter.outbox import Facts
from rooms.roles import Language
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


def refund_decided(language: Language, facts: Facts, site: Site) -> Letter:
    """What became of a request for a session's price."""
    words = REFUND_DECIDED[language]
    granted = number(facts, "granted_units")
    state = text(facts, "state")
    rows = [
        (words["ended"], instant_text(number(facts, "ended_at_ms"), language)),
        (words["charged"], credits_shown(number(facts, "charged_units"), language)),
        (words["asked"], instant_text(number(facts, "requested_at_ms"), language)),
    ]
    if state == "approved":
        rows.insert(2, (words["granted"], credits_shown(granted, language)))
    return Letter(
        language=language,
        subject=words[f"subject_{state}"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=words[state].format(amount=credits_shown(granted, language)),
        rows=tuple(rows),
        closing=(words["help"].format(support=site.support), site.name),
    )


def purchase_refunded(language: Language, facts: Facts, site: Site) -> Letter:
    """Staff gave back what was bought of an expert, all or a part."""
    words, feature = PURCHASE_REFUNDED[language], text(facts, "feature")
    units, refunded = number(facts, "units"), number(facts, "refunded_units")
    rows = [
        (words["what"], words[feature]),
        (words["bought"], instant_text(number(facts, "at_ms"), language)),
        (words["price"], credits_shown(units, language)),
        (words["back"], credits_shown(refunded, language)),
    ]
    if facts["reason"]:
        rows.append((words["reason"], text(facts, "reason")))
    ends = refunded == units and feature in LASTING
    return Letter(
        language=language,
        subject=words["subject"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=words["lead"].format(amount=credits_shown(refunded, language)),
        rows=tuple(rows),
        closing=(
            *([words["ended"]] if ends else ()),
            words["help"].format(support=site.support),
            site.name,
        ),
    )


def money_back(language: Language, facts: Facts, site: Site) -> Letter:
    """Credits that were taken because their money went back, or that came again."""
    words = MONEY_BACK[language]
    what, method = text(facts, "what"), text(facts, "method")
    amount = credits_shown(number(facts, "units"), language)
    debt = number(facts, "debt_units")
    rows = [
        (words["order"], text(facts, "order")),
        (words["ordered"], instant_text(number(facts, "created_at_ms"), language)),
        (words["credits"], credits_shown(number(facts, "credits_units"), language)),
        (
            words["price"],
            money_text(number(facts, "price_minor"), text(facts, "currency"), language),
        ),
        (words["method"], METHODS[language].get(method, method)),
    ]
    closing = []
    if debt:
        rows.append((words["debt"], credits_shown(debt, language)))
        closing.append(words["owing"])
    if number(facts, "reload_off"):
        closing.append(words["reload_off"])
    return Letter(
        language=language,
        subject=words[f"subject_{what}"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=words[what].format(amount=amount),
        rows=tuple(rows),
        closing=(*closing, words["help"].format(support=site.support), site.name),
    )


def reload_off(language: Language, facts: Facts, site: Site) -> Letter:
    """Auto-reload switched itself off."""
    words = RELOAD_OFF[language]
    return Letter(
        language=language,
        subject=words["subject"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=words["lead"],
        rows=((words["reason"], words[text(facts, "notice")]),),
        closing=(words["again"], words["help"].format(support=site.support), site.name),
    )


def payout(language: Language, facts: Facts, site: Site) -> Letter:
    """How a payout ended."""
    words, state = PAYOUT[language], text(facts, "state")
    amount = money_text(number(facts, "amount_minor"), text(facts, "currency"), language)
    rows = [
        (words["amount"], amount),
        (words["account"], text(facts, "iban")),
        (words["payout"], text(facts, "payout")),
        (words["asked"], instant_text(number(facts, "requested_at_ms"), language)),
    ]
    given = [name for name in ("reference", "reason") if facts[name]]
    rows += [(words[name], text(facts, name)) for name in given]
    closing = [words["help"].format(support=site.support), site.name]
    if state != "paid":
        closing.insert(0, words["back"])
    return Letter(
        language=language,
        subject=words[f"subject_{state}"].format(site=site.name),
        greeting=words["greeting"].format(name=text(facts, "username")),
        lead=words[state].format(amount=amount),
        rows=tuple(rows),
        closing=tuple(closing),
    )


REFUND_DECIDED: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject_approved": "{site}: your refund was approved",
        "subject_denied": "{site}: your refund was not approved",
        "greeting": "Hello {name},",
        "approved": "You get {amount} credits back for a private session. They are on your "
        "account.",
        "denied": "We looked at the private session that you asked us about, and give nothing "
        "back.",
        "ended": "Session ended",
        "charged": "It cost (credits)",
        "granted": "You get back (credits)",
        "asked": "You asked",
        "help": "Questions? {support}",
    },
    "nb": {
        "subject_approved": "{site}: du får penger tilbake",
        "subject_denied": "{site}: du får ikke penger tilbake",
        "greeting": "Hei {name},",
        "approved": "Du får {amount} kreditter tilbake for en privat økt. De står på kontoen din.",
        "denied": "Vi har sett på den private økten som du spurte om, og gir ikke noe tilbake.",
        "ended": "Økten sluttet",
        "charged": "Den kostet (kreditter)",
        "granted": "Du får tilbake (kreditter)",
        "asked": "Du spurte",
        "help": "Spørsmål? {support}",
    },
}

LASTING = frozenset(feature.value for feature, terms in TERMS.items() if terms.lasts_ms)
"""What gives access for a time."""
PURCHASE_REFUNDED: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject": "{site}: you get credits back",
        "greeting": "Hello {name},",
        "lead": "You get {amount} credits back. They are on your account.",
        "what": "For",
        "surprise": "a surprise",
        "story": "Premium Stories, 7 days",
        "content": "premium content, 90 days",
        "message": "a message",
        "bought": "Bought",
        "price": "It cost (credits)",
        "back": "You get back (credits)",
        "reason": "Reason",
        "ended": "You cannot see it any more.",
        "help": "Questions? {support}",
    },
    "nb": {
        "subject": "{site}: du får kreditter tilbake",
        "greeting": "Hei {name},",
        "lead": "Du får {amount} kreditter tilbake. De står på kontoen din.",
        "what": "For",
        "surprise": "en overraskelse",
        "story": "Premium Stories, 7 dager",
        "content": "premium-innhold, 90 dager",
        "message": "en melding",
        "bought": "Kjøpt",
        "price": "Det kostet (kreditter)",
        "back": "Du får tilbake (kreditter)",
        "reason": "Årsak",
        "ended": "Du kan ikke se det lenger.",
        "help": "Spørsmål? {support}",
    },
}

MONEY_BACK: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject_purchase_refund": "{site}: a purchase was refunded",
        "subject_charge_back": "{site}: your bank took a payment back",
        "subject_dispute_won": "{site}: your credits are back",
        "greeting": "Hello {name},",
        "purchase_refund": "We gave you money of a purchase back, to where it came from. "
        "{amount} credits were taken from your account for it.",
        "charge_back": "Your bank took the money of a purchase back. "
        "{amount} credits were taken from your account for it.",
        "dispute_won": "A payment that your bank had taken back was made after all. "
        "{amount} credits are on your account again.",
        "order": "Order",
        "ordered": "Ordered",
        "credits": "Credits of the order",
        "price": "Price",
        "method": "Paid with",
        "debt": "You owe (credits)",
        "owing": "Some of these credits were spent already. Your next purchase pays for them "
        "first.",
        "reload_off": "Auto-reload is off now. You can switch it on again in the wallet.",
        "help": "If this was a mistake, answer this mail or write to: {support}",
    },
    "nb": {
        "subject_purchase_refund": "{site}: et kjøp er betalt tilbake",
        "subject_charge_back": "{site}: banken din tok en betaling tilbake",
        "subject_dispute_won": "{site}: kredittene dine er tilbake",
        "greeting": "Hei {name},",
        "purchase_refund": "Vi har betalt tilbake penger for et kjøp, dit de kom fra. "
        "{amount} kreditter er trukket fra kontoen din for det.",
        "charge_back": "Banken din tok pengene for et kjøp tilbake. "
        "{amount} kreditter er trukket fra kontoen din for det.",
        "dispute_won": "En betaling som banken din hadde tatt tilbake, ble gjort likevel. "
        "{amount} kreditter står på kontoen din igjen.",
        "order": "Bestilling",
        "ordered": "Bestilt",
        "credits": "Kreditter i bestillingen",
        "price": "Pris",
        "method": "Betalt med",
        "debt": "Du skylder (kreditter)",
        "owing": "Noen av kredittene var allerede brukt. Det neste kjøpet ditt betaler dem først.",
        "reload_off": "Automatisk påfyll er av nå. Du kan slå det på igjen i lommeboken.",
        "help": "Er dette en feil, svar på denne e-posten eller skriv til: {support}",
    },
}

RELOAD_OFF: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject": "{site}: auto-reload is off",
        "greeting": "Hello {name},",
        "lead": "Auto-reload has switched itself off. It will not charge your card any more.",
        "reason": "Reason",
        "declined": "The card was declined, also when we tried again.",
        "needs_action": "The bank wants you to confirm the payment yourself.",
        "again": "You can switch it on again in the wallet, also with another card: the one that "
        "you bought with last.",
        "help": "Questions? {support}",
    },
    "nb": {
        "subject": "{site}: automatisk påfyll er av",
        "greeting": "Hei {name},",
        "lead": "Automatisk påfyll har slått seg av. Det belaster ikke kortet ditt lenger.",
        "reason": "Årsak",
        "declined": "Kortet ble avvist, også da vi prøvde på nytt.",
        "needs_action": "Banken vil at du selv bekrefter betalingen.",
        "again": "Du kan slå det på igjen i lommeboken, også med et annet kort: det du kjøpte med "
        "sist.",
        "help": "Spørsmål? {support}",
    },
}

PAYOUT: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "subject_paid": "{site}: your payout is on its way",
        "subject_denied": "{site}: your payout was not approved",
        "subject_failed": "{site}: your payout could not be made",
        "subject_returned": "{site}: your payout was sent back",
        "greeting": "Hello {name},",
        "paid": "We paid {amount} to your account. Your bank may need some days to show it.",
        "denied": "Your payout of {amount} was not approved.",
        "failed": "Your payout of {amount} could not be made.",
        "returned": "The bank sent your payout of {amount} back to us.",
        "amount": "Amount",
        "account": "Account",
        "payout": "Payout",
        "asked": "You asked",
        "reference": "Reference",
        "reason": "Reason",
        "back": "The credits are in your earnings again. Look at your account there, and ask anew.",
        "help": "Questions? {support}",
    },
    "nb": {
        "subject_paid": "{site}: utbetalingen din er på vei",
        "subject_denied": "{site}: utbetalingen din ble ikke godkjent",
        "subject_failed": "{site}: utbetalingen din kunne ikke gjøres",
        "subject_returned": "{site}: utbetalingen din ble sendt tilbake",
        "greeting": "Hei {name},",
        "paid": "Vi har betalt {amount} til kontoen din. Banken kan trenge noen dager på å vise "
        "det.",
        "denied": "Utbetalingen din på {amount} ble ikke godkjent.",
        "failed": "Utbetalingen din på {amount} kunne ikke gjøres.",
        "returned": "Banken sendte utbetalingen din på {amount} tilbake til oss.",
        "amount": "Beløp",
        "account": "Konto",
        "payout": "Utbetaling",
        "asked": "Du spurte",
        "reference": "Referanse",
        "reason": "Årsak",
        "back": "Kredittene står blant inntektene dine igjen. Se på kontoen din der, og spør "
        "på nytt.",
        "help": "Spørsmål? {support}",
    },
}
