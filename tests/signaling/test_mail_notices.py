"""Mails about refunds, money that went back and auto-reload, from their cause to a mail server."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from billing_meter import notices, order_reversals, order_store, outbox, schema
from billing_meter.features import Buy, Feature
from billing_meter.ledger import Debit
from billing_meter.payout_rules import TOLD, Payout, PayoutState
from billing_meter.providers import DeclineReason, Disputed, DisputeState
from billing_meter.purchases import Purchases
from billing_meter.refunds import Refunds
from billing_meter.sales import Bought

PRICE_MINOR = 2_799
CREDITS_UNITS = 167_940


async def texts(post) -> list[tuple[str, str]]:
    """(subject, plain text in one line) of what was delivered just now."""
    before = len(post.server.taken)
    await post.mailer.deliver_due()
    messages = [one.message for one in post.server.taken[before:]]
    return [
        (one["Subject"], " ".join(one.get_body(("plain",)).get_content().split()))
        for one in messages
    ]


async def session(post, member_id: str, units: int) -> Refunds:
    """A closed session that cost so much, asked back."""
    expert, _ = await post.door.expert("luna")
    ledger = post.door.services.wallet.ledger
    await ledger.execute(
        Debit("d", member_id, expert.account_id, units, "session_charge", "session:s1")
    )
    at_ms = ledger.now_ms()
    row = {
        "session_id": "s1",
        "node": "n",
        "epoch": 1,
        "state": "closed",
        "reason": "member_left",
        "member_id": member_id,
        "expert_id": expert.account_id,
        "share_percent": 60,
        "cam2cam_share_percent": 60,
        "two_way_audio_share_percent": 60,
        "private_units_per_s": 100,
        "cam2cam_units_per_s": 0,
        "two_way_audio_units_per_s": 0,
        "private_s": units // 100,
        "cam2cam_s": 0,
        "two_way_audio_s": 0,
        "held_ms": units * 10,
        "cam2cam_held_ms": 0,
        "two_way_audio_held_ms": 0,
        "charged_units": units,
        "posted_units": units,
        "expert_units": units * 6 // 10,
        "entries": 1,
        "opened_at_ms": at_ms,
        "started_at_ms": at_ms,
        "marked_at_ms": at_ms,
        "ended_at_ms": at_ms,
    }
    async with post.door.services.database.write() as connection:
        await connection.execute(sa.insert(schema.sessions), [row])
    refunds = Refunds(ledger)
    await refunds.request("s1", member_id, "No sound.")
    return refunds


@pytest.mark.parametrize(
    ("language", "granted", "subject", "says"),
    [
        ("en", 6_000, "refund was approved", "get 1.00 credits back"),
        ("en", 0, "was not approved", "give nothing back"),
        ("nb", 9_000, "du får penger tilbake", "Du får 1,50 kreditter tilbake"),
        ("nb", 0, "du får ikke penger tilbake", "gir ikke noe tilbake"),
    ],
)
async def test_a_decision_about_a_refund_is_one_mail(post, language, granted, subject, says):
    member_id = await post.member("mia", language)
    await post.door.services.wallet.grant_promo(member_id, 60_000, "g", "test")
    refunds = await session(post, member_id, 12_000)
    assert await texts(post) == []
    for _ in range(2):
        if granted:
            await refunds.approve("s1", granted, "staff")
        else:
            await refunds.deny("s1", "staff")
    [(told, text)] = await texts(post)
    assert subject in told
    assert says in text
    assert "2,00" in text.replace("2.00", "2,00")  # what it had cost


@pytest.mark.parametrize(
    ("language", "feature", "units", "says", "not_said"),
    [
        ("en", Feature.STORY, None, "You cannot see it any more.", "Reason"),
        ("en", Feature.CONTENT, 3_000, "Reason: No sound.", "any more"),
        ("en", Feature.MESSAGE, None, "a message", "any more"),
        ("nb", Feature.STORY, None, "Du kan ikke se det lenger.", "Årsak"),
        ("nb", Feature.SURPRISE, 3_000, "Årsak: No sound.", "lenger"),
    ],
)
async def test_a_purchase_given_back_is_one_mail(
    post, language, feature, units, says, not_said
) -> None:
    member_id = await post.member("mia", language)
    await post.buy(member_id)
    await texts(post)  # the receipt
    expert, _ = await post.door.expert("luna")
    purchases, thing = Purchases(post.door.services.wallet), expert.account_id
    sold = await purchases.buy(
        Buy("k", member_id, expert.account_id, feature, thing, 12_000, 12_000)
    )
    assert isinstance(sold, Bought)
    for _ in range(2):
        await purchases.refund(sold.transfer, "staff", units, "No sound." if units else "")
    [(subject, text)] = await texts(post)
    assert {"en": "credits back", "nb": "kreditter tilbake"}[language] in subject
    assert says in text
    assert not_said not in text
    assert {None: "2,00", 3_000: "0,50"}[units] in text.replace(".", ",")


@pytest.mark.parametrize("language", ["en", "nb"])
async def test_money_that_went_back_is_told_with_what_is_owed(post, language) -> None:
    member_id = await post.member("mia", language)
    order = await post.buy(member_id)
    expert, _ = await post.door.expert("luna")
    services = post.door.services
    await services.reload.set_settings(member_id, enabled=True)
    await services.wallet.ledger.execute(
        Debit("tip", member_id, expert.account_id, 60_000, "tip", "t")
    )
    await texts(post)  # the receipt
    async with services.wallet.ledger.transaction() as transaction:
        await order_reversals.told(transaction, order, 999)
    async with services.wallet.ledger.transaction() as transaction:
        settled = await order_store.find(transaction.connection, order.order_id)
        await order_reversals.told(
            transaction, settled, 999, Disputed("d1", 1_800, DisputeState.OPEN)
        )
    async with services.wallet.ledger.transaction() as transaction:
        back = await order_store.find(transaction.connection, order.order_id)
        await order_reversals.told(transaction, back, 999, Disputed("d1", 1_800, DisputeState.WON))
    (refund, r_text), (charge_back, c_text), (won, w_text) = await texts(post)
    taken = 999 * CREDITS_UNITS // PRICE_MINOR
    assert order.order_id in r_text
    if language == "en":
        assert (refund, charge_back, won) == (
            "Parlour: a purchase was refunded",
            "Parlour: your bank took a payment back",
            "Parlour: your credits are back",
        )
        assert "Auto-reload is off now" in r_text
        assert "9.99 credits were taken" in r_text
        assert "Auto-reload" not in c_text  # it was off already
        owed = taken + 1_800 * CREDITS_UNITS // PRICE_MINOR + 60_000 - CREDITS_UNITS
        assert f"You owe (credits): {owed / 6_000:.2f}" in c_text
        assert "on your account again" in w_text
    else:
        assert "betalt tilbake" in refund
        assert "Automatisk påfyll er av nå" in r_text
        assert "Du skylder" in c_text
        assert "likevel" in w_text


@pytest.mark.parametrize(
    ("language", "reason", "says"),
    [
        ("en", DeclineReason.FUNDS, "also when we tried again"),
        ("nb", DeclineReason.NEEDS_ACTION, "selv bekrefter"),
    ],
)
async def test_auto_reload_that_gave_up_says_so_once(post, language, reason, says) -> None:
    member_id = await post.member("mia", language)
    services = post.door.services
    token = "tok_declined" if reason is DeclineReason.FUNDS else "tok_slow"
    await services.reload.set_settings(member_id, enabled=True, token=token)
    order = await services.reload.check(member_id)
    if reason is DeclineReason.NEEDS_ACTION:
        async with services.wallet.ledger.transaction() as transaction:
            await services.orders._fail_in(transaction, order, reason.value)
    else:
        table = schema.reloads
        async with services.database.write() as connection:
            await connection.execute(sa.update(table).values(backoff_until_ms=0))
        assert [subject for subject, _ in await texts(post)] == [
            "Parlour: your purchase did not go through"
        ]
        await services.reload.check(member_id)
    *_, (subject, text) = sorted(await texts(post), key=lambda one: "auto" in one[0])
    assert subject in ("Parlour: auto-reload is off", "Parlour: automatisk påfyll er av")
    assert says in text
    assert (await services.reload.settings(member_id)).state == "off"
    assert await texts(post) == []


@pytest.mark.parametrize("language", ["en", "nb"])
async def test_an_expert_hears_how_a_payout_ended(post, language) -> None:
    expert_id = await post.member("eve", language)  # any account with an address
    payout = Payout(
        payout_id="po-1",
        expert_id=expert_id,
        state=PayoutState.PAID,
        units=600_000,
        amount_minor=12_345,
        currency="EUR",
        holder="Eve",
        iban="DE89370400440532013000",
        channel="manual",
        reference="bank-7",
        failure=None,
        requested_at_ms=1_700_000_000_000,
        decided_at_ms=1,
        decided_by="sam",
        closed_at_ms=1,
        closed_by="sam",
        returned_at_ms=None,
        returned_by=None,
    )
    at_ms = post.door.services.wallet.ledger.now_ms()
    async with post.door.services.database.write() as connection:
        for number, state in enumerate(sorted(TOLD)):
            failure = None if state is PayoutState.PAID else "the account is closed"
            told = replace(payout, state=state, failure=failure)
            await notices.queue_payout(connection, told, at_ms + number)
    sent = dict(zip(sorted(TOLD), await texts(post), strict=True))
    for state, (_, text) in sent.items():
        assert "123.45" in text.replace("123,45", "123.45")
        assert "DE89370400440532013000" not in text
        assert "bank-7" in text
        assert ("the account is closed" in text) == (state is not PayoutState.PAID)
    assert len({subject for subject, _ in sent.values()}) == len(TOLD)


async def test_operators_see_what_waits_and_dead_mails_can_be_tried_anew(post) -> None:
    services = post.door.services
    await post.buy(await post.member("mia"))
    await post.buy(await post.member("noah"))
    post.server.rcpt = ["550 no such user", "450 later"]
    assert await post.mailer.deliver_due() == 0
    told = await scraped(post)
    assert told['parlour_mails{state="waiting"}'] == told['parlour_mails{state="dead"}'] == 1
    assert told['parlour_mail_deliveries_total{outcome="given_up"}'] == 1
    assert told['parlour_mail_deliveries_total{outcome="put_off"}'] == 1
    now_ms = services.wallet.ledger.now_ms()
    async with services.database.write() as connection:
        [dead] = await outbox.of_state(connection, "dead", 10)
        assert dead.error == "550 no such user"
        assert await outbox.revive(connection, now_ms, "receipt:none") == 0
        too_late_ms = now_ms + outbox.AGE_MAX_MS + 60_000
        assert await outbox.revive(connection, too_late_ms) == 0  # old news stays dead
        assert await outbox.revive(connection, now_ms, dead.event_id) == 1
        assert await outbox.revive(connection, now_ms, dead.event_id) == 0
    assert await post.mailer.deliver_due() == 1
    first = (await scraped(post))['parlour_mail_deliveries_total{outcome="sent"}']
    post.advance(minutes=2)
    assert await post.mailer.deliver_due() == 1
    assert (first, services.mail_counts.sent) == (1, 2)
    assert [row["state"] for row in await post.rows()] == ["sent", "sent"]


async def scraped(post) -> dict[str, float]:
    """The figures of `/metrics` by name and labels."""
    reply = await post.door.client().get("/metrics")
    lines = (await reply.text()).splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }
