"""Migrations: what they make is what the code expects, and strange databases are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import billing_meter.schema  # noqa: F401 - registers its tables
import signaling.schema  # noqa: F401 - registers its tables
from billing_meter.database import METADATA
from billing_meter.shares import earned_of_row, of_session_row, posted_of_row
from signaling import migrate


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


async def test_fresh_database_gets_exactly_the_schema_of_the_code(tmp_path: Path) -> None:
    file = tmp_path / "p.db"
    assert await migrate.upgrade(url_of(file)) == (None, migrate.newest())
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, METADATA)
    engine.dispose()
    assert differences == []


async def test_constraints_are_the_same_too(tmp_path: Path) -> None:
    """Alembic's comparison does not see CHECK constraints; SQLite's own text does."""
    file, made = tmp_path / "p.db", tmp_path / "m.db"
    await migrate.upgrade(url_of(file))
    engine = sa.create_engine(f"sqlite:///{made}", poolclass=sa.pool.NullPool)
    METADATA.create_all(engine)
    engine.dispose()

    def checks(database: Path) -> dict[str, list[str]]:
        with sqlite3.connect(database) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type='table'")
            return {
                name: sorted(part.strip() for part in sql.split("\n") if "CHECK" in part)
                for name, sql in rows.fetchall()
                if name != migrate.VERSION_TABLE
            }

    normal = {name: [text.rstrip(", ") for text in texts] for name, texts in checks(file).items()}
    wanted = {name: [text.rstrip(", ") for text in texts] for name, texts in checks(made).items()}
    assert normal == wanted


async def test_upgrading_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p.db"
    await migrate.upgrade(url_of(file))
    before = file.read_bytes()
    assert await migrate.upgrade(url_of(file)) == (migrate.newest(), migrate.newest())
    assert file.read_bytes() == before


async def test_older_database_is_migrated_with_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "p.db"
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.pool.NullPool)
    config = migrate._alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        migrate.command.upgrade(config, "0001_money")
        connection.exec_driver_sql(
            "INSERT INTO billing_members (member_id, created_at_ms) VALUES ('m_1', 5)"
        )
    engine.dispose()
    assert await migrate.upgrade(url_of(file)) == ("0001_money", migrate.newest())
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT member_id FROM billing_members").fetchall()
    assert rows == [("m_1",)]


async def test_what_went_back_of_orders_is_known_after_the_migration(tmp_path: Path) -> None:
    """From the transfers that followed it: a won dispute, a lost one of a part, a refund."""
    file = tmp_path / "p.db"
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.pool.NullPool)
    config = migrate._alembic()
    transfers = [  # number, key, kind, units, reverses
        (1, "order:a", "purchase", 167_940, None),
        (2, "order:b", "purchase", 59_941, None),
        (3, "charge_back:a:dp_1", "charge_back", 167_940, 1),
        (4, "charge_back:a:dp_1:won", "reversal", 167_940, 3),
        (5, "charge_back:a:dp_2", "charge_back", 60_000, 1),
        (6, "refund:b:400", "purchase_refund", 59_941 * 400 // 997, 2),
        (7, "refund:b:500", "purchase_refund", 59_941 * 500 // 997 - 59_941 * 400 // 997, 2),
    ]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        migrate.command.upgrade(config, "0014_rewards")
        for number, key, kind, units, reverses in transfers:
            connection.exec_driver_sql(
                "INSERT INTO ledger_transfers VALUES"
                " (?, ?, '', ?, 'posted', NULL, 'm', NULL, NULL, ?, 0, ?, ?, NULL, ?)",
                (number, key, kind, units, units, reverses, number),
            )
        order = (
            "INSERT INTO orders"
            " (order_id, key, request_hash, member_id, origin, package_id, method,"
            " credits_units, price_minor, list_price_minor, currency, descriptor, state, transfer,"
            " refunded_units, created_at_ms, ended_at_ms) VALUES"
            " (?, ?, '', 'm', 'member', 'p', 'card', ?, ?, ?, 'EUR', '', ?, ?, ?, 1, 9)"
        )
        rows = [
            ("a", "a", 167_940, 2_799, 2_799, "charged_back", 1, 60_000),
            ("b", "b", 59_941, 997, 997, "settled", 2, 59_941 * 500 // 997),
        ]
        for row in rows:
            connection.exec_driver_sql(order, row)
    engine.dispose()
    await migrate.upgrade(url_of(file))
    with sqlite3.connect(file) as connection:
        told = connection.execute("SELECT * FROM order_reversals ORDER BY at_ms").fetchall()
        states = connection.execute("SELECT state, ended_at_ms FROM orders").fetchall()
    assert told == [
        ("a", "dp_1", "won", 2_799, 3),
        ("a", "dp_2", "open", 1_000, 5),
        ("b", "", "refunded", 500, 7),
    ]
    assert states == [("settled", None), ("settled", 9)]


async def test_the_one_share_of_an_expert_is_that_of_every_feature(tmp_path: Path) -> None:
    """Of what is open, ended and bought as well; the books are right as they were."""
    file = tmp_path / "p.db"
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.pool.NullPool)
    config = migrate._alembic()
    rows = {  # 7 units at 57 % and three components: one floor, of the whole
        "billing_experts": [("eve", 57, 1, None), ("gus", 0, 1, None)],
        "ledger_transfers": [(1, "buy:a:1", "x", "message", "posted")],
        "group_sessions": [("g", "eve", "live", 5), ("h", "eve", "scheduled", None)],
    }
    columns = {
        "billing_experts": "expert_id, share_percent, created_at_ms, closed_at_ms",
        "ledger_transfers": "transfer, key, request_hash, kind, outcome, units, promo_units,"
        " paid_units, at_ms",
        "group_sessions": "group_id, expert_id, state, started_at_ms, goal_units, minimum_units,"
        " length_ms, pre_session_ms, start_policy, allow_late, node, beat, played_ms,"
        " pledged_units, captured_units, refunded_units, created_at_ms",
    }
    rest = {
        "ledger_transfers": (9, 0, 9, 1),
        "group_sessions": (1, 1, 1, 1, "on_goal", True, "n", 0, 0, 0, 0, 0, 1),
    }
    session = {
        **{"session_id": "s", "node": "n", "epoch": 1, "state": "closed", "member_id": "ann"},
        **{"expert_id": "eve", "share_percent": 57, "private_units_per_s": 99},
        **{"cam2cam_units_per_s": 1, "two_way_audio_units_per_s": 1, "private_s": 1},
        **{"cam2cam_s": 1, "two_way_audio_s": 1, "held_ms": 1_000, "cam2cam_held_ms": 1_000},
        **{"two_way_audio_held_ms": 1_000, "charged_units": 101, "posted_units": 101},
        **{"expert_units": 101 * 57 // 100, "entries": 1, "opened_at_ms": 1, "marked_at_ms": 1},
    }
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        migrate.command.upgrade(config, "0019_replies")
        for table, some in rows.items():
            for row in some:
                values = (*row, *rest.get(table, ()))
                marks = ", ".join("?" for _ in values)
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({columns[table]}) VALUES ({marks})", values
                )
        connection.exec_driver_sql(
            f"INSERT INTO meter_sessions ({', '.join(session)})"
            f" VALUES ({', '.join('?' for _ in session)})",
            tuple(session.values()),
        )
        connection.exec_driver_sql(
            "INSERT INTO feature_purchases (transfer, member_id, expert_id, feature, object_id,"
            " units, at_ms) VALUES (1, 'ann', 'eve', 'message', 'm', 9, 1)"
        )
    engine.dispose()
    await migrate.upgrade(url_of(file))
    with sqlite3.connect(file) as connection:
        connection.row_factory = sqlite3.Row
        shares = [tuple(row) for row in connection.execute("SELECT * FROM expert_shares")]
        stored = connection.execute("SELECT * FROM meter_sessions").fetchone()
        bought = connection.execute("SELECT share_percent FROM feature_purchases").fetchone()
        groups = connection.execute("SELECT group_id, share_percent FROM group_sessions").fetchall()
        kept = connection.execute("SELECT * FROM billing_experts").fetchall()
    assert sorted(shares) == [("eve", *[57] * 8), ("gus", *[0] * 8)]
    assert sum(earned_of_row(stored)) == stored["expert_units"] == 57
    assert of_session_row(stored).earned(posted_of_row(stored)) == 57
    assert bought["share_percent"] == 57
    assert sorted(map(tuple, groups)) == [("g", 57), ("h", None)]
    assert [tuple(row) for row in kept] == [("eve", 1, None), ("gus", 1, None)]


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["CREATE TABLE holiday_photos (id INTEGER)"], "not one of Parlour's.*holiday_photos"),
        (
            [
                "CREATE TABLE alembic_version (version_num VARCHAR(32))",
                "INSERT INTO alembic_version VALUES ('9999_future')",
            ],
            "'9999_future', which this version does not know",
        ),
        (["CREATE TABLE alembic_version (version_num VARCHAR(32))"], "0 revisions"),
    ],
)
async def test_strange_database_is_refused_and_untouched(
    tmp_path: Path, statements: list[str], says: str
) -> None:
    file = tmp_path / "p.db"
    with sqlite3.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    before = file.read_bytes()
    with pytest.raises(migrate.SchemaRefused, match=says):
        await migrate.upgrade(url_of(file))
    assert file.read_bytes() == before


async def test_not_a_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.db"
    file.write_bytes(b"this is a text file, and a rather long one" * 50)
    with pytest.raises(migrate.SchemaRefused, match="cannot be opened"):
        await migrate.upgrade(url_of(file))


async def test_failed_upgrade_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    """A crash in the middle of the last revision: the first one's tables are not there either."""
    file = tmp_path / "p.db"

    def broken(config: object, revision: str) -> None:
        real(config, "0001_money")
        raise sa.exc.OperationalError("CREATE", {}, Exception("disk full"))

    real = migrate.command.upgrade
    monkeypatch.setattr(migrate.command, "upgrade", broken)
    with pytest.raises(migrate.SchemaRefused):
        await migrate.upgrade(url_of(file))
    monkeypatch.undo()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    assert await migrate.upgrade(url_of(file)) == (None, migrate.newest())
