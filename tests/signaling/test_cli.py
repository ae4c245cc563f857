"""The command line: results as text and JSON, and every error as one line with exit code 2."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import functools
import io
import json
import logging
import shutil
import socket
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa
import structlog
import typer
from argon2 import PasswordHasher

from billing_meter.database import Database
from billing_meter.features import Buy, Feature
from billing_meter.ledger import Debit
from billing_meter.ledger_store import LedgerStore
from billing_meter.orders import Orders
from billing_meter.payout_rules import Payout
from billing_meter.payouts import Payouts
from billing_meter.providers import FakeProvider
from billing_meter.purchases import Purchases
from billing_meter.sales import Bought
from billing_meter.wallet import Wallet
from signaling import cli
from signaling.config import load
from signaling.schema import accounts
from signaling.store import opened_store, utc_now

PASSWORD = "correct-horse-9"
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


COMMANDS = functools.cache(typer.main.get_command)
"""Read from their functions once; a process does so once, too."""


@pytest.fixture
def tmp_path(quick_dir):
    """Stores lie in memory."""
    return quick_dir


@pytest.fixture
def parlour(tmp_path, migrated, monkeypatch, capsys):
    """Run a command in-process on an empty store: (exit code, standard output, standard error)."""
    monkeypatch.setattr("typer.main.get_command", COMMANDS)
    monkeypatch.setattr("signaling.passwords.PasswordHasher", lambda: QUICK_HASHER)
    (tmp_path / "data").mkdir()
    shutil.copy(migrated, tmp_path / "data")

    def run(*words: str, data: bool = True) -> tuple[int, str, str]:
        arguments = [*words, *(("--data", str(tmp_path / "data")) if data else ())]
        monkeypatch.setattr("sys.argv", ["parlour", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), out, err

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_expert_add_makes_the_store_and_prints_the_key_once(parlour, tmp_path) -> None:
    shutil.rmtree(tmp_path / "data")
    code, out, err = parlour(
        "expert", "add", "luna", "--password", PASSWORD, "--category", "tarot", "--json"
    )
    assert (code, err) == (0, "")
    added = json.loads(out)
    assert added["stream_key"].startswith("sk_")
    assert added["whip_path"] == "/whip/luna"
    assert "password" not in added
    stored = (tmp_path / "data" / "parlour.db").read_bytes()
    assert added["stream_key"].encode() not in stored
    assert parlour("expert", "add", "luna", "--password", PASSWORD)[0] == 2


def test_made_password_is_printed(parlour) -> None:
    code, out, _ = parlour("member", "add", "mia")
    assert code == 0
    assert "password" in out


def test_member_with_credits_is_in_the_books(parlour) -> None:
    code, out, _ = parlour("member", "add", "mia", "--credits", "27.99", "--json")
    assert (code, json.loads(out)["credits_units"]) == (0, 167_940)
    for command in ("verify", "reconcile"):
        code, out, _ = parlour("ledger", command, "--json")
        assert (code, json.loads(out)["findings"]) == (0, [])
    code, out, _ = parlour("ledger", "statement", "mia", "--json")
    statement = json.loads(out)
    assert statement["closing_units"] == 167_940
    assert [line["units"] for line in statement["lines"]] == [167_940]
    code, out, _ = parlour("ledger", "statement", "mia")
    assert "closing 27.99 credits" in out


def test_the_journal_is_exported_posting_by_posting(parlour, tmp_path) -> None:
    for name in ("mia", "noah"):
        parlour("member", "add", name, "--credits", "27.99")
    rows = list(csv.DictReader(io.StringIO(parlour("ledger", "export")[1], newline="")))
    assert [(row["transfer"], row["account"].partition(":")[0]) for row in rows] == [
        ("1", "member"),
        ("1", "platform"),
        ("2", "member"),
        ("2", "platform"),
    ]
    assert sum(int(row["units"]) for row in rows) == 0
    made = tmp_path / "noah.csv"
    assert parlour("ledger", "export", "noah", "--output", str(made))[0] == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert list(csv.DictReader(io.StringIO(made.read_text(), newline=""))) == rows[2:]
    code, _, err = parlour("ledger", "export", "noah", "--output", str(made))
    assert (code, "exists" in err) == (2, True)


def test_wrong_books_are_exit_code_1(parlour, tmp_path) -> None:
    import sqlite3

    parlour("member", "add", "mia", "--credits", "27.99")
    connection = sqlite3.connect(tmp_path / "data" / "parlour.db")
    with connection:
        connection.execute("UPDATE ledger_accounts SET units = units + 1 WHERE units > 0")
    connection.close()
    code, out, _ = parlour("ledger", "verify", "--json")
    assert code == 1
    assert json.loads(out)["findings"]
    code, out, _ = parlour("ledger", "verify")
    assert "WRONG" in out


def test_token_speaks_for_its_account(parlour, tmp_path) -> None:
    parlour("member", "add", "mia")
    code, out, _ = parlour("token", "MIA", "--ttl", "60", "--json")
    assert code == 0
    made = json.loads(out)
    assert (made["role"], made["expires_s"]) == ("member", 60)
    claims = jwt.decode(made["token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert claims["sub"].startswith("m_")
    secret = tmp_path / "data" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    code, out, _ = parlour("token", "bench-1", "--guest")
    assert jwt.decode(out.strip(), options={"verify_signature": False})["role"] == "guest"


def test_config_show_and_check(parlour, tmp_path) -> None:
    code, out, _ = parlour("config", "show")
    assert code == 0
    shown = tmp_path / "shown.toml"
    shown.write_text(out)
    assert parlour("config", "check", "--config", str(shown), data=False)[0] == 0
    code, out, _ = parlour("config", "show", "--json")
    assert json.loads(out)["server"]["data"] == str(tmp_path / "data")


def test_promotions_are_added_listed_and_ended(parlour) -> None:
    words = ["--percent", "40", "--from", "2026-01-01", "--until", "2099-01-01T12:30:00+01:00"]
    more = ["--package", "credits-9", "--country", "NO", "--country", "SE", "--json"]
    code, out, err = parlour("promotion", "add", "spring", *words, *more)
    assert (code, err) == (0, "")
    added = json.loads(out)
    assert added == {
        "promotion": "spring",
        "percent": 40,
        "from": "2026-01-01T00:00:00Z",
        "until": "2099-01-01T11:30:00Z",
        "packages": ["credits-9"],
        "countries": ["NO", "SE"],
        "not_with": "-",
    }
    code, _, err = parlour("promotion", "add", "spring", *words)
    assert (code, "already" in err) == (2, True)
    assert json.loads(parlour("promotion", "list", "--json")[1]) == {"promotions": [added]}
    assert parlour("promotion", "end", "spring")[0] == 0
    assert "spring  40  2026-01-01" in parlour("promotion", "list")[1]
    assert parlour("promotion", "end", "spring")[0] == 2
    steep = ("promotion", "add", "steep", "--until", "2099-01-01", "--percent", "41")
    assert "paid out for more than it cost" in parlour(*steep)[2]


def test_dead_mails_are_listed_and_tried_anew(parlour, tmp_path) -> None:
    parlour("member", "add", "mia", "--json")
    with closing(sqlite3.connect(tmp_path / "data" / "parlour.db")) as store, store:
        store.execute(
            "insert into outbox (event_id, kind, member_id, facts, at_ms, state, tries, next_at_ms,"
            " error) values ('receipt:o1', 'receipt', 'm', '{}', ?, 'dead', 10, 0, '550 nobody')",
            [int(time.time() * 1_000)],
        )
    [listed] = json.loads(parlour("mail", "list", "--json")[1])["mails"]
    assert (listed["mail"], listed["error"]) == ("receipt:o1", "550 nobody")
    assert parlour("mail", "retry")[0] == parlour("mail", "retry", "receipt:o2")[0] == 2
    assert json.loads(parlour("mail", "retry", "receipt:o1", "--json")[1]) == {"retried": 1}
    assert json.loads(parlour("mail", "list", "--json")[1]) == {"mails": []}
    assert "receipt:o1" in parlour("mail", "list", "--state", "waiting")[1]
    assert json.loads(parlour("mail", "retry", "--all", "--json")[1]) == {"retried": 0}
    assert parlour("mail", "list", "--state", "lost")[0] == 2


def test_a_purchase_is_given_back_on_the_command_line(parlour, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PARLOUR__MONEY__PROVIDER", "fake")
    member = json.loads(parlour("member", "add", "mia", "--json")[1])["member_id"]

    async def buy() -> str:
        async with opened_store(load(None, {}, {"server": {"data": f"{tmp_path}/data"}})) as store:
            wallet = Wallet(store, utc_now=utc_now)
            orders = Orders(store, wallet, FakeProvider(), utc_now=utc_now)
            order = await orders.create(member, "credits-27", "card", "k")
            await orders.pay(member, order.order_id, "tok_ok")
            return order.order_id

    order = asyncio.run(buy())
    [listed] = json.loads(parlour("order", "list", "mia", "--json")[1])["orders"]
    assert (listed["order"], listed["state"], listed["price"]) == (order, "settled", "27.99 EUR")
    words = ["order", "refund", order, "--price", "10.00", "--by", "sam", "--key", "a", "--json"]
    given = json.loads(parlour(*words)[1])
    assert (given["state"], given["price"], given["by"]) == ("done", "10.00 EUR", "sam")
    assert json.loads(parlour(*words)[1]) == given
    left = json.loads(parlour("order", "show", order, "--json")[1])
    assert (left["taken_back"], left["refundable"]) == (given["credits"], "17.99 EUR")
    for wrong in ("18.00", "0", "1.001", "x", "1e99", "NaN"):
        code, _, err = parlour("order", "refund", order, "--price", wrong)
        assert (code, err.count("\n")) == (2, 1), wrong
    assert parlour("order", "show", "nope")[0] == parlour("order", "list", "nobody")[0] == 2
    assert parlour("ledger", "verify")[0] == parlour("ledger", "reconcile")[0] == 0


def test_what_was_bought_of_an_expert_is_given_back_on_the_command_line(parlour, tmp_path) -> None:
    member = json.loads(parlour("member", "add", "mia", "--json")[1])["member_id"]

    async def buy(key: str) -> int:
        async with opened_store(load(None, {}, {"server": {"data": f"{tmp_path}/data"}})) as store:
            wallet = Wallet(store, utc_now=utc_now)
            await wallet.open_expert("eve")
            await wallet.grant_promo(member, 60_000, f"gift:{key}", "test")
            album = Buy(key, member, "eve", Feature.CONTENT, f"album-{key}", 30_000, 30_000)
            sold = await Purchases(wallet).buy(album)
            assert isinstance(sold, Bought)
            return sold.transfer

    first, second = asyncio.run(buy("1")), asyncio.run(buy("2"))
    listed = json.loads(parlour("refund", "purchases", "mia", "--json")[1])["purchases"]
    assert [(one["number"], one["given_back"]) for one in listed] == [
        (second, "0.00"),
        (first, "0.00"),
    ]
    older = parlour("refund", "purchases", "mia", "--before", str(second), "--json")[1]
    assert [one["number"] for one in json.loads(older)["purchases"]] == [first]
    words = ["refund", "purchase", str(first), "--credits", "1.50", "--reason", "dark", "--by", "x"]
    given = json.loads(parlour(*words, "--json")[1])
    assert (given["price"], given["given_back"], given["by"]) == ("5.00", "1.50", "x")
    assert given["reason"] == "dark"
    for wrong in (
        [str(first)],
        ["4711"],
        ["0"],
        [str(10**30)],
        [str(second), "--credits", "5.01"],
        [str(second), "--credits", "0"],
        [str(second), "--credits", "NaN"],
        [str(second), "--reason", "x" * 121],
    ):
        code, _, err = parlour("refund", "purchase", *wrong)
        assert (code, err.count("\n")) == (2, 1), wrong
    whole = json.loads(parlour("refund", "purchase", str(second), "--json")[1])
    assert whole["given_back"] == "5.00"
    assert parlour("refund", "purchases", "nobody")[0] == 2
    assert parlour("ledger", "verify")[0] == parlour("ledger", "reconcile")[0] == 0


def test_staff_is_made_on_the_command_line_and_its_history_stays(parlour) -> None:
    parlour("member", "add", "sam")
    assert parlour("staff", "add", "SAM", "--by", "root")[0] == 0
    code, _, err = parlour("staff", "add", "sam")
    assert (code, "already" in err) == (2, True)
    assert parlour("staff", "remove", "sam", "--by", "ida")[0] == 0
    assert parlour("staff", "remove", "sam")[0] == 2
    (role,) = json.loads(parlour("staff", "list", "--json")[1])["staff"]
    assert (role["name"], role["given_by"], role["taken_by"]) == ("sam", "root", "ida")
    assert role["until"] >= role["since"]
    assert parlour("staff", "list")[1].startswith("sam  20")


def test_the_shares_of_an_expert_are_shown_and_changed(parlour, tmp_path) -> None:
    (tmp_path / "p.toml").write_text("[shares]\nmessage = 45\ncam2cam = 0\n")
    file = ("--config", str(tmp_path / "p.toml"))
    parlour("expert", "add", "luna", *file)
    parlour("member", "add", "mia")
    code, out, _ = parlour("expert", "share", "luna", "--json")
    first = {"expert": "luna", "private": 60, "cam2cam": 0, "two_way_audio": 60, "surprise": 60}
    first |= {"story": 60, "content": 60, "message": 45, "group": 60}
    assert (code, json.loads(out)) == (0, first)
    assert parlour("expert", "share", "luna", "cam2cam", "70", "--by", "olga")[0] == 0
    assert "cam2cam        70" in parlour("expert", "share", "LUNA", *file)[1]
    out = parlour("expert", "share", "luna", "all", "007", "--by", "pia", "--json")[1]
    assert set(json.loads(out).values()) == {"luna", 7}
    changes = json.loads(parlour("expert", "share", "luna", "--changes", "--json")[1])["changes"]
    assert len(changes) == 9
    assert [(one["was_percent"], one["percent"], one["by"]) for one in changes[:2]] == [
        (0, 70, "olga"),
        (60, 7, "pia"),
    ]
    assert "  cam2cam  70  0  olga" in parlour("expert", "share", "luna", "--changes")[1]
    code, _, err = parlour("expert", "share", "mia", "all", "50")
    assert (code, err) == (2, "parlour: 'mia' is not an expert\n")
    assert parlour("ledger", "reconcile")[0] == 0


async def _earned_and_asked(data: Path) -> str:
    """Luna earned 120 credits two days ago and asks for them; the payout's id."""
    now = dt.datetime.now(dt.UTC)
    async with opened_store(load(None, {}, {"server": {"data": str(data)}})) as database:
        luna = str(
            await fetch(
                database, sa.select(accounts.c.account_id).where(accounts.c.username == "luna")
            )
        )
        mia = Wallet(database, utc_now=lambda: now - dt.timedelta(days=2))
        await mia.open_member("mia")
        await mia.credit_purchase("mia", 1_200_000, "buy", "test")
        await mia.ledger.execute(Debit("tip", "mia", luna, 1_200_000, "surprise", "tip"))
        payouts = Payouts(LedgerStore(database, utc_now=lambda: now))
        await payouts.set_destination(luna, "Luna Hart", "NO9386011117947")
        payout = await payouts.request(luna, "k")
        assert isinstance(payout, Payout)
        return payout.payout_id


async def fetch(database: Database, query: sa.Select[tuple[str]]) -> object:
    async with database.read() as connection:
        return await connection.scalar(query)


def test_payouts_are_listed_decided_and_paid(parlour, tmp_path) -> None:
    parlour("expert", "add", "luna", "--password", PASSWORD)
    payout = asyncio.run(_earned_and_asked(tmp_path / "data"))
    listed = json.loads(parlour("payout", "list", "--json")[1])["payouts"]
    assert [(one["payout"], one["expert"], one["amount"]) for one in listed] == [
        (payout, "luna", "120.00")
    ]
    assert listed[0]["iban"] == "NO9386011117947"
    code, _, err = parlour("payout", "paid", payout, "--reference", "B-1")
    assert (code, "in another state" in err) == (2, True)
    code, out, _ = parlour("payout", "approve", payout, "--manual", "--by", "olga", "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["channel"]) == (0, "approved", "manual")
    assert parlour("payout", "deny", payout)[0] == 2
    assert parlour("payout", "paid", payout, "--reference", "B-1", "--by", "pia")[0] == 0
    assert parlour("payout", "list")[1] == ""
    line = parlour("payout", "list", "--state", "paid")[1]
    assert all(word in line for word in (payout, "paid", "olga", "pia", "B-1", "Luna Hart"))
    assert parlour("payout", "returned", payout, "--reason", "account closed")[0] == 0
    assert "account closed" in parlour("payout", "list", "--state", "returned")[1]
    for command in ("verify", "reconcile"):
        code, out, _ = parlour("ledger", command, "--json")
        assert (code, json.loads(out)["findings"]) == (0, [])


SALE = ["promotion", "add", "sale", "--until", "2026-12-31"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["token", "nobody"], "there is no account 'nobody'"),
        (["ledger", "statement", "nobody"], "there is no account 'nobody'"),
        (["ledger", "statement", "x", "--from", "soon"], "'soon' is not a day"),
        (["expert", "add", "Luna Hart"], "'Luna Hart' is not usable as a name"),
        (["expert", "add", "luna", "--category", "golf"], "unknown category 'golf'"),
        (["expert", "add", "luna", "--price", "0.5"], "a private second costs"),
        (["expert", "add", "luna", "--price", "2.999"], "at most two decimals"),
        (["expert", "add", "luna", "--price", "cheap"], "--price"),
        (["expert", "add", "luna", "--password", "short"], "at least 8 characters"),
        (["expert", "share", "nobody"], "there is no account 'nobody'"),
        (["expert", "share", "x", "tips", "50"], "no feature 'tips': all, private, cam2cam"),
        (["expert", "share", "x", "story"], "a share is 0 to 100 per cent, not ''"),
        (["expert", "share", "x", "story", "101"], "a share is 0 to 100 per cent, not '101'"),
        (["expert", "share", "x", "all", "59.5"], "a share is 0 to 100 per cent, not '59.5'"),
        (["member", "add", "x"], "3 to 24"),
        (["member", "add", "mia", "--credits", "-1"], "negative"),
        (["member", "add", "mia", "--credits", "nan"], "--credits"),
        (["member", "add", "mia", "--email", "x"], "not an e-mail"),
        ([*SALE, "--percent", "91"], "1 to 90 percent"),
        ([*SALE, "--percent", "5", "--from", "2027-01-01"], "ends before it begins"),
        ([*SALE, "--percent", "5", "--until", "soon"], "'soon' is not"),
        ([*SALE, "--percent", "5", "--package", "credits-1"], "no package 'credits-1'"),
        ([*SALE, "--percent", "5", "--country", "no"], "'no' is not a country"),
        (["promotion", "end", "nothing"], "no promotion 'nothing' goes on"),
        (["payout", "list", "--state", "lost"], "no state 'lost': open, all, requested"),
        (["payout", "approve", "none"], "no such payout"),
        (["payout", "paid", "none", "--reference", "x" * 121], "1 to 120 characters"),
        (["config", "check", "--config", "/nowhere.toml"], "cannot read /nowhere.toml"),
        (["serve", "--http", "nonsense"], "server.http: 'nonsense' is not HOST:PORT"),
        (["serve", "--media", "nonsense:x"], "media.listen"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(parlour, words: list[str], says: str) -> None:
    code, out, err = parlour(*words)
    assert code == 2
    assert says in err
    assert err.startswith("parlour: ")
    assert err.count("\n") == 1
    assert out == ""


def test_errors_as_json(parlour) -> None:
    code, out, _ = parlour("token", "nobody", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "no_such_account"


def test_unknown_key_suggests_the_nearest(parlour, monkeypatch) -> None:
    monkeypatch.setenv("PARLOUR__SERVER__HTPP", "x")
    code, _, err = parlour("config", "check")
    assert code == 2
    assert "did you mean 'http'?" in err


def test_busy_http_port(parlour) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = parlour("serve", "--http", address)
    assert code == 2
    assert f"HTTP address {address} is in use by another program" in err


def test_busy_media_port(parlour) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = parlour("serve", "--http", "127.0.0.1:0", "--media", address)
    assert code == 2
    assert f"media address {address} (UDP) is in use by another program" in err


def test_busy_media_port_for_tcp_alone(parlour) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = parlour("serve", "--http", "127.0.0.1:0", "--media", address)
    assert code == 2
    assert f"media address {address} (TCP) is in use by another program" in err


def test_unwritable_data_directory(parlour, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for words in (["serve", "--http", "127.0.0.1:0"], ["member", "add", "mia"]):
        code, _, err = parlour(*words, "--data", str(tmp_path / "file" / "x"), data=False)
        assert code == 2
        assert "cannot write the data directory" in err


def test_newer_database(parlour, tmp_path) -> None:
    import sqlite3

    parlour("member", "add", "mia")
    connection = sqlite3.connect(tmp_path / "data" / "parlour.db")
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_future'")
    connection.close()
    for words in (["serve", "--http", "127.0.0.1:0"], ["ledger", "verify"]):
        code, _, err = parlour(*words)
        assert code == 2
        assert "'9999_future', which this version does not know" in err


def test_missing_stream_key_and_unreadable_input(parlour, monkeypatch) -> None:
    monkeypatch.delenv("PARLOUR_STREAM_KEY", raising=False)
    whip = ("--whip", "http://127.0.0.1:1/whip/luna")
    code, _, err = parlour("publish", "--input", "test:x", *whip, data=False)
    assert code == 2
    assert "no stream key" in err
    code, _, err = parlour(
        "publish", "--input", "/nowhere.mp4", *whip, "--key", "sk_x", "--once", data=False
    )
    assert code == 2
    assert "cannot read /nowhere.mp4" in err


def test_demo_refuses_a_store_with_accounts_and_production(parlour, monkeypatch) -> None:
    parlour("member", "add", "mia")
    code, _, err = parlour("serve", "--demo", "--http", "127.0.0.1:0", "--media", "127.0.0.1:0")
    assert code == 2
    assert "--demo fills an empty data directory only" in err
    monkeypatch.setenv("PARLOUR__SERVER__MODE", "production")
    monkeypatch.setenv("PARLOUR__SERVER__PUBLIC_URL", "https://parlour.example")
    monkeypatch.setenv("PARLOUR__MONEY__PROVIDER", "none")
    code, _, err = parlour("serve", "--demo")
    assert code == 2
    assert "not in production: --demo" in err


def test_second_server_on_one_store(parlour, tmp_path) -> None:
    from signaling.app import only_server_of

    with only_server_of(Path(tmp_path / "data")):
        code, _, err = parlour("serve", "--http", "127.0.0.1:0")
    assert code == 2
    assert "another server already runs on" in err
