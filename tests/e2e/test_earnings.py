"""Earnings as an expert meets them: what is final, a bank account, a payout that staff lets go."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from billing_meter.database import Database
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import SessionOrder
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Switched, Till
from billing_meter.wallet import Wallet
from tests.billing_meter.conftest import Clock, FakeGate
from tests.e2e.harness import Server, chromium, person, running_server
from tests.e2e.people import units
from tests.e2e.pictures import picture

CREDIT = 6_000
EARNED = (("rose", 40, 40), ("ring", 200, 9), ("song", 30, 3), ("dance", 90, 2), ("wave", 25, 0))
"""Surprises: a name, its price in credits, how many days ago."""


async def surprises(server: Server) -> None:
    """What mia sent to luna in the last weeks; the first one was taken back today."""
    names = {
        name: str(ids) for name, ids in server.sql("select username, account_id from accounts")
    }
    now = dt.datetime.now(dt.UTC)
    database = await Database.open(f"sqlite+aiosqlite:///{server.data / 'parlour.db'}")
    try:
        for name, price, days in EARNED:
            then = now - dt.timedelta(days=days)
            store = LedgerStore(database, utc_now=lambda then=then: then)
            ids = (names["mia"], names["luna"])
            outcome = await store.execute(Debit(name, *ids, price * CREDIT, "surprise", name))
            assert isinstance(outcome, Posted)
            if name == "rose":
                rose = outcome.transfer
        back = Reverse("back", rose, 10 * CREDIT, "staff")
        assert isinstance(await LedgerStore(database, utc_now=lambda: now).execute(back), Posted)
    finally:
        await database.close()


async def a_session(server: Server) -> None:
    """A minute of mia and luna just now, in no time: half of it with Cam2Cam."""
    names = {
        name: str(ids) for name, ids in server.sql("select username, account_id from accounts")
    }
    clock = Clock()
    clock.epoch = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1_064)
    database = await Database.open(f"sqlite+aiosqlite:///{server.data / 'parlour.db'}")
    try:
        wallet = Wallet(database, utc_now=clock.utc)
        till = Till(
            database,
            wallet,
            node="elsewhere",
            clock_ns=clock.ns,
            utc_now=clock.utc,
            on_event=lambda _session, _event: None,
        )
        order = SessionOrder("e2e", names["mia"], names["luna"], Tariff())
        assert isinstance(await till.open(order), Opened)
        for component in (Component.PRIVATE, Component.CAM2CAM):
            gate = FakeGate(clock)
            gate.start()
            till.attach("e2e", component, gate)
            if component is not Component.PRIVATE:
                assert isinstance(await till.switch("e2e", component, True), Switched)
            for _ in range(31):
                clock.advance(1)
                till.beat()
                await till.tick()
        await till.close("e2e", "member_left")
    finally:
        await database.close()


async def test_an_expert_is_paid_what_is_final(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, chromium() as browser:
        server.expert("luna")
        server.member("mia", "500")
        server.member("sam", "0")
        server.cli("staff", "add", "sam")
        await surprises(server)
        server.cli("expert", "share", "luna", "cam2cam", "45")
        await a_session(server)
        final = (40 - 10 + 200 + 30 + 90) * CREDIT * 60 // 100
        async with person(browser, server) as luna, person(browser, server) as sam:
            await luna.sign_in("luna")
            await luna.open("/earnings")
            assert await units(luna, "earned-available") == final
            session = (61 * 299 * 60 + 30 * 100 * 45) // 100
            assert await units(luna, "earned-pending") == 25 * CREDIT * 60 // 100 + session
            assert "45 %" in await luna.see("earnings-shares")
            await luna.see("earnings-taken-back")
            await luna.click("period-month")
            await luna.see("earnings")

            await luna.click("payout-account-change")
            await luna.page.fill(luna.by("payout-holder"), "Luna Hart")
            await luna.page.fill(luna.by("payout-iban"), "NO93 8601 1117 948")
            await luna.click("payout-account-keep")
            assert "not a valid IBAN" in await luna.see("payout-iban-error")
            await luna.page.fill(luna.by("payout-iban"), "NO93 8601 1117 947")
            await luna.click("payout-account-keep")
            await luna.page.wait_for_selector(luna.by("payout-iban"), state="detached")
            assert "NO…7947" in await luna.see("payout-account")
            await luna.click("period-day")
            await luna.page.click('[aria-controls^="span-day-"]')  # a month's would vanish with it
            lines = await luna.see("earnings-lines")
            assert "Pending until" in lines
            assert "45 % of" in lines
            await picture(luna, "earnings", checked=True)

            await luna.click("payout-ask")
            assert "€210.00" in await luna.see("payout-confirm")
            await luna.click("confirm")
            await luna.see("payout-open")
            assert await units(luna, "earned-available") == 0
            assert await units(luna, "earned-in_payout") == final

            await sam.sign_in("sam")
            await sam.open("/staff#payouts")
            assert "NO9386011117947" in await sam.see("payout-iban")
            await picture(sam, "staff-payouts", checked=True)
            await sam.click("payout-approve")
            await sam.click("confirm")
            await sam.see("payouts-empty")
            await sam.click("payouts-closed")
            await sam.see("payout-returned")

            await luna.open("/earnings?lang=nb")
            assert "Betalt" in await luna.see("payout")
            assert await units(luna, "earned-in_payout") == 0
            await picture(luna, "earnings-nb", checked=True)
        server.books_are_clean()
