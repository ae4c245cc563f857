"""A member's ledger as a file, and the journal as one: all of it, nobody else's, safe to open."""

from __future__ import annotations

import csv
import io

import pytest

from billing_meter.ledger import Debit
from billing_meter.units import credits_text
from signaling import routes_ledger_export
from signaling.csv_text import csv_text

PATH = "/api/v1/wallet/transactions.csv"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_every_line_is_in_the_file_once_newest_first(door, problem, monkeypatch) -> None:
    monkeypatch.setattr(routes_ledger_export, "PAGE_LINES", 3)
    member = await door.member("mia", credits_units=60_000)
    other = await door.member("noah", credits_units=6_000)
    expert, _ = await door.expert("luna")
    for number in range(7):
        for one in (member, other):
            debit = Debit(
                f"{one.username}:{number}",
                one.account_id,
                expert.account_id,
                101,
                "surprise",
                "=1+1",
            )
            await door.services.wallet.ledger.execute(debit)
    client = await door.signed_in("mia")
    reply = await client.get(PATH)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert reply.headers["Content-Disposition"].startswith('attachment; filename="parlour-20')
    rows = rows_of(await reply.text())
    assert [row["kind"] for row in rows] == ["surprise"] * 7 + ["promo_grant"]
    assert [int(row["balance_units"]) for row in rows] == [
        60_000 - 101 * spent for spent in range(7, -1, -1)
    ]
    assert rows[0]["units"] == "-101"
    assert rows[0]["credits"] == credits_text(-101)
    assert rows[0]["reference"] == "'=1+1"
    items = (await (await client.get("/api/v1/wallet/transactions")).json())["items"]
    assert [item["units"] for item in items] == [int(row["units"]) for row in rows]
    older = rows_of(await (await client.get(PATH, params={"before": str(items[5]["id"])})).text())
    assert older == rows[6:]
    assert await problem(await client.get(PATH, params={"before": "x"})) == (422, "invalid")
    monkeypatch.setattr(routes_ledger_export, "LINES_MAX", 5)
    assert rows_of(await (await client.get(PATH)).text()) == rows[:5]
    for _ in range(2):
        await client.get(PATH)
    assert await problem(await client.get(PATH)) == (429, "rate_limited")


async def test_a_file_that_cannot_be_finished_is_broken_off(door, monkeypatch) -> None:
    await door.member("mia", credits_units=60_000)
    client = await door.signed_in("mia")

    async def lost(*_arguments):
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(routes_ledger_export, "sessions_of", lost)
    reply = await client.get(PATH)
    with pytest.raises(Exception, match=r"payload|closed|disconnected|Connection"):
        await reply.read()


def test_texts_that_a_spreadsheet_would_run_are_marked_and_numbers_stay() -> None:
    cells = ["=1+1", "+1", "-x", "-5", "-0.05", "@a", "\ta", 'say "hi", you', None, -7]
    (row,) = list(csv.reader(io.StringIO(csv_text([cells]), newline="")))
    assert row == ["'=1+1", "'+1", "'-x", "-5", "-0.05", "'@a", "'\ta", 'say "hi", you', "", "-7"]
