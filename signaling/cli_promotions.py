"""`parlour promotion add|list|end`: discounts, for staff. Takes effect in a running server."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer
from sqlalchemy.exc import IntegrityError

from billing_meter import promotion_store
from billing_meter.ledger_store import utc_ms
from billing_meter.packages import PACKAGES
from billing_meter.promotions import PERCENT_MAX, Promotion, fault
from billing_meter.shares import Source
from signaling.cli_common import (
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    instant_text,
    settings,
    show,
    show_list,
)
from signaling.config import Config
from signaling.store import opened_store, utc_now

promotion_cli = typer.Typer(no_args_is_help=True, help="Promotions: discounts on packages.")
INSTANT = "2026-01-31 or 2026-01-31T18:00:00"
NameArgument = Annotated[str, typer.Argument(help="Its id, once for ever: a-z, 0-9 and -.")]


@promotion_cli.command("add")
def promotion_add(
    name: NameArgument,
    percent: Annotated[int, typer.Option(help=f"Discount, 1 to {PERCENT_MAX}.")],
    until: Annotated[str, typer.Option(help="When it ends (UTC).", metavar="INSTANT")],
    since: Annotated[
        str | None,
        typer.Option("--from", help="When it begins (UTC); else now.", metavar="INSTANT"),
    ] = None,
    package: Annotated[
        list[str] | None, typer.Option(help="Only this package; may be repeated.")
    ] = None,
    country: Annotated[
        list[str] | None, typer.Option(help="Only this country, as NO; may be repeated.")
    ] = None,
    exclude_method: Annotated[
        list[str] | None, typer.Option(help="Not with this way to pay; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a promotion. It holds from its first instant on, and at its last one no more."""
    promotion = Promotion(
        promotion_id=name,
        percent=percent,
        starts_at_ms=utc_ms(utc_now()) if since is None else _instant(since, "--from"),
        ends_at_ms=_instant(until, "--until"),
        packages=frozenset(package or ()),
        countries=frozenset(country or ()),
        excluded_methods=frozenset(exclude_method or ()),
    )
    wrong = fault(promotion)
    if wrong is not None:
        raise CommandError("bad_promotion", f"the promotion is refused: {wrong}")
    unknown = sorted(promotion.packages - set(PACKAGES))
    if unknown:
        raise CommandError(
            "unknown_package", f"no package {unknown[0]!r}; known are {', '.join(PACKAGES)}"
        )
    chosen = settings(config, data)
    asyncio.run(_add(chosen, promotion))
    show(_shown(promotion), as_json)
    shares = chosen.shares.of_new_experts
    most = max(shares.of(source) for source in Source)
    if percent > 100 - most:
        typer.echo(
            f"Careful: an expert gets {most} % of each credit's list price. With"
            f" {percent} % off, what a member buys can be paid out for more than it cost: look"
            " closely at payouts to experts whom few others pay.",
            err=True,
        )


@promotion_cli.command("list")
def promotion_list(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show every promotion, past ones too."""
    found = asyncio.run(_all(settings(config, data)))
    show_list("promotions", [_shown(promotion) for promotion in found], as_json)


@promotion_cli.command("end")
def promotion_end(
    name: NameArgument,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a promotion now. Orders that were placed keep their price."""
    if not asyncio.run(_end(settings(config, data), name)):
        raise CommandError("no_such_promotion", f"no promotion {name!r} goes on")
    show({"promotion": name, "state": "ended"}, as_json)


async def _add(config: Config, promotion: Promotion) -> None:
    async with opened_store(config) as database:
        try:
            async with database.write() as connection:
                await promotion_store.add(connection, promotion, utc_ms(utc_now()))
        except IntegrityError:
            raise CommandError(
                "name_taken", f"there is a promotion {promotion.promotion_id!r} already"
            ) from None


async def _all(config: Config) -> Sequence[Promotion]:
    async with opened_store(config) as database, database.read() as connection:
        return await promotion_store.all_of_them(connection)


async def _end(config: Config, name: str) -> bool:
    async with opened_store(config) as database, database.write() as connection:
        return await promotion_store.end(connection, name, utc_ms(utc_now()))


def _shown(promotion: Promotion) -> dict[str, object]:
    return {
        "promotion": promotion.promotion_id,
        "percent": promotion.percent,
        "from": instant_text(promotion.starts_at_ms),
        "until": instant_text(promotion.ends_at_ms),
        "packages": sorted(promotion.packages) or "all",
        "countries": sorted(promotion.countries) or "all",
        "not_with": sorted(promotion.excluded_methods) or "-",
    }


def _instant(text: str, option: str) -> int:
    """UTC milliseconds of a day or an instant; one with a time zone is brought to UTC."""
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        raise CommandError("bad_instant", f"{option}: {text!r} is not {INSTANT}") from None
    return utc_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC))
