"""Rows of many keys in one statement: any number of keys, with any letters, on both databases."""

from __future__ import annotations

from billing_meter.database import Database
from billing_meter.ledger_rows import open_account, read_units
from billing_meter.row_reads import KEYS_PER_STATEMENT

ODD = ["", "it's", 'a "word"', "{1,2}", "[1]", "null", "\\", "søster", "🌹", "a\nb", "%s $1 :x ?"]


async def test_every_key_finds_its_row_and_no_other(databases) -> None:
    database = await Database.open(await databases.fresh())
    many = [f"account-{n}" for n in range(2 * KEYS_PER_STATEMENT + 1)]
    async with database.write() as connection:
        for name in (*ODD, *many[::5]):
            await open_account(connection, name, "somebody", may_be_negative=True)
        assert set(await read_units(connection, ODD)) == set(ODD)
        assert await read_units(connection, ["nobody", *many]) == dict.fromkeys(many[::5], 0)
        assert await read_units(connection, []) == {}
    await database.close()
