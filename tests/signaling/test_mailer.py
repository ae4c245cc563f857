"""The outbox against a real SMTP server: once each, in bounded tries, whatever the server does."""

from __future__ import annotations

import asyncio
import socket

import pytest

from billing_meter import outbox
from signaling.smtp import SmtpUnavailable


async def test_a_settled_order_is_one_receipt(post) -> None:
    order = await post.buy(await post.member())
    assert await post.mailer.deliver_due() == 1
    assert await post.mailer.deliver_due() == 0
    [taken] = post.server.taken
    assert (taken.sender, taken.recipients) == ("parlour@parlour.test", ["mia@mail.test"])
    message = taken.message
    assert message["Subject"] == "Parlour: receipt for 27.99 credits"
    assert message["From"] == "Parlour <parlour@parlour.test>"
    assert message["Reply-To"] == "help@parlour.test"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_body(("plain",)).get_content()
    page = message.get_body(("html",)).get_content()
    for body in (text, page):
        assert order.order_id in body
        assert "€27.99" in body
        assert "27.99 credits are on your account" in body
        assert "PRL SERVICES" in body
        assert "help@parlour.test" in body
        assert "Hello mia" in body
    row = await post.row()
    assert (row["state"], row["tries"], row["error"]) == ("sent", 1, None)
    assert message["Message-ID"] == f"<{row['message_id']}@parlour.test>"


async def test_mails_speak_the_members_language(post) -> None:
    await post.buy(await post.member("nils", "nb"))
    await post.buy(await post.member("nora", "nb"), "tok_expired")
    assert await post.mailer.deliver_due() == 2
    receipt, failure = (one.message for one in post.server.taken)
    assert receipt["Subject"] == "Parlour: kvittering for 27,99 kreditter"
    assert receipt["Content-Language"] == "nb"
    assert "27,99\xa0€" in receipt.get_body(("plain",)).get_content()
    assert failure["Subject"] == "Parlour: kjøpet ditt gikk ikke gjennom"
    assert "Kortet er utløpt" in failure.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("tok_declined", "not enough money"),
        ("tok_expired", "has expired"),
        ("tok_blocked", "unusually often"),
        ("tok_other", "was declined"),
    ],
)
async def test_a_failure_says_its_reason_and_where_to_get_help(post, token, says) -> None:
    await post.buy(await post.member(), token)
    assert await post.mailer.deliver_due() == 1
    [taken] = post.server.taken
    text = " ".join(taken.message.get_body(("plain",)).get_content().split())
    assert says in text
    assert "No credits were added" in text
    assert "answer this mail or write to: help@parlour.test" in text


async def test_auto_reload_gets_its_receipt_too(post) -> None:
    member_id = await post.member()
    services = post.door.services
    await services.reload.set_settings(member_id, enabled=True, package_id="credits-27")
    await services.reload.check(member_id)
    assert await post.mailer.deliver_due() == 1
    [taken] = post.server.taken
    assert "Auto-reload has bought" in taken.message.get_body(("plain",)).get_content()


async def test_not_now_means_later_with_growing_pauses_and_the_same_mail(post) -> None:
    await post.buy(await post.member())
    post.server.data = ["451 busy", "421 closing", "250 taken"]
    post.server.rcpt = ["450 greylisted"]
    for pause_s, error in ((60, "450 greylisted"), (240, "451 busy"), (960, "421 closing")):
        assert await post.mailer.deliver_due() == 0
        row = await post.row()
        assert (row["state"], row["error"]) == ("waiting", error)
        post.advance(seconds=pause_s - 2)
        offered = post.server.offered
        assert await post.mailer.deliver_due() == 0
        assert post.server.offered == offered
        post.advance(seconds=2)
    assert await post.mailer.deliver_due() == 1
    assert len(post.server.taken) == 1
    assert (await post.row())["tries"] == 4


async def test_never_means_never_and_hurts_no_other_mail(post) -> None:
    await post.buy(await post.member("mia"))
    await post.buy(await post.member("noah"))
    post.server.rcpt = ["550 no such user"]
    assert await post.mailer.deliver_due() == 1
    first, second = await post.rows()
    assert (first["state"], first["error"]) == ("dead", "550 no such user")
    assert second["state"] == "sent"
    assert post.server.connections == 1
    post.advance(days=1)
    assert await post.mailer.deliver_due() == 0


async def test_a_content_that_is_refused_is_dead(post) -> None:
    await post.buy(await post.member())
    post.server.data = ["554 we do not like it"]
    assert await post.mailer.deliver_due() == 0
    assert (await post.row())["state"] == "dead"


async def test_a_connection_lost_in_the_middle_is_made_anew(post) -> None:
    await post.buy(await post.member("mia"))
    await post.buy(await post.member("noah"))
    post.server.data = ["DROP"]
    assert await post.mailer.deliver_due() == 1
    assert [one.recipients for one in post.server.taken] == [["noah@mail.test"]]
    assert post.server.connections == 2
    post.advance(minutes=1)
    assert await post.mailer.deliver_due() == 1
    assert [row["state"] for row in await post.rows()] == ["sent", "sent"]


async def test_a_double_can_be_told_by_its_message_id_and_is_the_same_to_the_byte(post) -> None:
    await post.buy(await post.member())
    post.server.data = ["TAKE AND DROP"]
    assert await post.mailer.deliver_due() == 0
    post.advance(minutes=1)
    assert await post.new_mailer().deliver_due() == 1
    first, second = post.server.taken
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert first.content == second.content


@pytest.mark.slow
async def test_a_server_that_falls_silent_costs_its_time_out_only(post) -> None:
    await post.buy(await post.member())
    post.server.data = ["SILENT"]
    mailer = post.new_mailer(timeout_s=1)
    async with asyncio.timeout(10):
        assert await mailer.deliver_due() == 0
    row = await post.row()
    assert (row["state"], row["tries"]) == ("waiting", 1)


async def test_an_outage_costs_no_try(post) -> None:
    await post.buy(await post.member())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        mailer = post.new_mailer(smtp=f"127.0.0.1:{closed.getsockname()[1]}")
        for _ in range(3):
            with pytest.raises(SmtpUnavailable):
                await mailer.deliver_due()
    assert (await post.row())["tries"] == 0
    assert await post.mailer.deliver_due() == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_without_the_tls_that_was_asked_for_nothing_is_said(post, security) -> None:
    await post.buy(await post.member())
    mailer = post.new_mailer(security=security, username="u", password="p", timeout_s=1)
    with pytest.raises(SmtpUnavailable):
        await mailer.deliver_due()
    assert post.server.offered == 0
    assert (await post.row())["tries"] == 0


async def test_tries_end(post) -> None:
    await post.buy(await post.member())
    post.server.rcpt = ["450 greylisted"] * 99
    for _ in range(outbox.TRIES_MAX):
        assert await post.mailer.deliver_due() == 0
        post.advance(hours=6)
    row = await post.row()
    assert (row["state"], row["tries"]) == ("dead", outbox.TRIES_MAX)
    assert len(post.server.rcpt) == 99 - outbox.TRIES_MAX


async def test_what_a_dead_process_had_claimed_comes_again(post) -> None:
    await post.buy(await post.member())
    database = post.door.services.database
    async with database.write() as connection:  # a process claims it and is killed
        claimed = await outbox.claim(connection, int(post.now().timestamp() * 1000), "m" * 32)
    assert claimed is not None
    assert await post.mailer.deliver_due() == 0
    post.advance(milliseconds=outbox.CLAIM_MS)
    assert await post.mailer.deliver_due() == 1
    [taken] = post.server.taken
    assert taken.message["Message-ID"] == f"<{'m' * 32}@parlour.test>"
    async with database.write() as connection:  # it was only frozen, and wakes up
        assert not await outbox.delivered(connection, claimed, 1)


@pytest.mark.threads
@pytest.mark.slow
async def test_two_mailers_send_each_mail_once(post) -> None:
    for number in range(12):
        await post.buy(await post.member(f"member{number}"))
    counts = await asyncio.gather(*(post.new_mailer().deliver_due() for _ in range(3)))
    assert sum(counts) == 12
    assert len({taken.recipients[0] for taken in post.server.taken}) == 12
    assert len(post.server.taken) == 12


async def test_a_persons_mails_keep_their_order(post) -> None:
    member_id = await post.member()
    await post.buy(member_id, "tok_declined", "k1")
    await post.buy(member_id, "tok_ok", "k2")
    post.server.rcpt = ["450 greylisted"]
    assert await post.mailer.deliver_due() == 0
    post.advance(minutes=1)
    assert await post.mailer.deliver_due() == 2
    subjects = [taken.message["Subject"] for taken in post.server.taken]
    assert subjects == [
        "Parlour: your purchase did not go through",
        "Parlour: receipt for 27.99 credits",
    ]


async def test_old_news_and_missing_addresses_are_not_sent(post) -> None:
    await post.buy(await post.member("mia"))
    await post.buy(await post.member("nobody", email=None))
    post.advance(days=3, minutes=1)
    await post.mailer.deliver_due()
    old, missing = await post.rows()
    assert (old["state"], old["error"]) == ("dead", "too old to be news")
    assert missing["state"] == "dead"
    assert post.server.taken == []


@pytest.mark.parametrize(
    "address",
    [
        "a@b.test\r\nBcc: all@b.test",
        "a@b.test\nRCPT TO:<x@y.test>",
        "a,b@c.test",
        '"a b"@c.test',
        "a@b.test>",
        "a@b.test\x00",
        "\u0430@b.test",
    ],
)
async def test_an_address_cannot_carry_anything_else(post, address) -> None:
    await post.buy(await post.member("mia", email=address))
    assert await post.mailer.deliver_due() == 0
    assert post.server.offered == 0
    assert (await post.row())["state"] == "dead"


async def test_facts_cannot_become_headers_or_markup(post) -> None:
    member_id = await post.member()
    facts = {
        "order": "<b>x</b>\r\n.\r\nQUIT",
        "origin": "member",
        "credits_units": 6_000,
        "price_minor": 100,
        "currency": "EUR",
        "method": "<script>",
        "descriptor": "a\r\nBcc: all@b.test",
        "created_at_ms": 0,
        "settled_at_ms": 0,
    }
    services = post.door.services
    async with services.database.write() as connection:
        now_ms = int(post.now().timestamp() * 1000)
        await outbox.queue(connection, "receipt", member_id, "o", facts, now_ms)
        await outbox.queue(connection, "receipt", member_id, "p", {"order": "p"}, now_ms)
        await outbox.queue(connection, "poem", member_id, "q", {}, now_ms)
    assert await post.mailer.deliver_due() == 1
    [taken] = post.server.taken
    assert taken.message["Bcc"] is None
    page = taken.message.get_body(("html",)).get_content()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert [row["state"] for row in await post.rows()] == ["sent", "dead", "dead"]


async def test_without_a_mail_server_nothing_fails_and_receipts_wait(door) -> None:
    await door.member()
    account = await door.services.accounts.by_name("mia")
    order = await door.services.orders.create(account.account_id, "credits-27", "card", "k")
    paid = await door.services.orders.pay(account.account_id, order.order_id, "tok_ok")
    assert paid.state == "settled"
    async with door.services.database.read() as connection:
        assert await outbox.states(connection, [f"receipt:{order.order_id}"]) == {
            f"receipt:{order.order_id}": "waiting"
        }
