"""The command line: `parlour …`. Errors are one line and exit code 2."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Literal

import typer

from signaling import logs
from signaling.cli_accounts import expert_cli, member_cli, token
from signaling.cli_common import (
    CommandError,
    ConfigOption,
    DataOption,
    JsonOption,
    settings,
    show,
)
from signaling.cli_ledger import ledger_cli
from signaling.cli_mail import mail_cli
from signaling.cli_orders import order_cli
from signaling.cli_payouts import payout_cli
from signaling.cli_promotions import promotion_cli
from signaling.cli_refunds import refund_cli
from signaling.cli_shares import expert_share
from signaling.cli_staff import staff_cli
from signaling.config import ConfigError, load, shown

EXIT_USAGE = 2
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Take any certificate, such as a self-signed one.")
]

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Parlour: live expert advice, billed by the second of held media.",
)
config_cli = typer.Typer(no_args_is_help=True, help="Show or check the configuration.")
expert_cli.command("share")(expert_share)
cli.add_typer(expert_cli, name="expert")
cli.add_typer(member_cli, name="member")
cli.add_typer(ledger_cli, name="ledger")
cli.add_typer(promotion_cli, name="promotion")
cli.add_typer(refund_cli, name="refund")
cli.add_typer(order_cli, name="order")
cli.add_typer(mail_cli, name="mail")
cli.add_typer(staff_cli, name="staff")
cli.add_typer(payout_cli, name="payout")
cli.add_typer(config_cli, name="config")
cli.command("token")(token)


@cli.callback()
def before_every_command() -> None:
    """Results go to standard output, so what is logged on the way goes elsewhere."""
    logs.configure("auto", "warning")


@cli.command()
def serve(
    config: ConfigOption = None,
    http: Annotated[
        str | None, typer.Option(help="Address of the web server.", metavar="HOST:PORT")
    ] = None,
    media: Annotated[
        str | None, typer.Option(help="Address of the media port.", metavar="HOST:PORT")
    ] = None,
    data: DataOption = None,
    tls: Annotated[
        Literal["self-signed"] | None,
        typer.Option(help="Make a certificate for a local network, so that cameras work there."),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill an empty data directory and let experts stream.")
    ] = False,
) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    import uvloop

    from signaling import app
    from signaling import demo as demonstration

    flags: dict[str, dict[str, object]] = {"server": {}, "media": {}}
    for section, key, value in (
        ("server", "http", http),
        ("server", "data", None if data is None else str(data)),
        ("server", "tls", tls),
        ("media", "listen", media),
    ):
        if value is not None:
            flags[section][key] = value
    chosen = load(config, os.environ, flags)
    logs.configure(chosen.log.format, chosen.log.level)
    beside = demonstration.prepare(chosen, _say) if demo else None
    raise typer.Exit(uvloop.run(app.serve(chosen, _say, beside)))


@cli.command()
def publish(
    input: Annotated[
        str, typer.Option(help="A file, /dev/videoN, an rtsp:// address or test:NAME.")
    ],
    whip: Annotated[str, typer.Option(help="Address to publish to.", metavar="URL")],
    key: Annotated[
        str, typer.Option(help="Stream key.", envvar="PARLOUR_STREAM_KEY", show_default=False)
    ] = "",
    loop: Annotated[bool, typer.Option("--loop", help="Begin a file anew at its end.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Do not try again after a failure.")] = False,
    codec: Annotated[
        Literal["auto", "h264", "vp8"], typer.Option(help="Video codec to send.")
    ] = "auto",
    bitrate: Annotated[
        int | None, typer.Option(help="Video bits per second when encoding.")
    ] = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a camera, a file, an RTSP camera or a generated picture over WHIP."""
    from clients import publish as program

    options = program.PublishOptions(
        input=input,
        whip_url=whip,
        key=key,
        loop=loop,
        seconds=seconds,
        once=once,
        codec=codec,
        bits_per_s=bitrate,
        insecure=insecure,
        as_json=as_json,
    )
    raise typer.Exit(program.run(options))


@cli.command()
def watch(
    url: Annotated[str, typer.Argument(help="WHEP address, for example …/whep/luna.")],
    seconds: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    key: Annotated[str | None, typer.Option(help="Bearer token, if one is needed.")] = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Receive a stream, count what arrives, record nothing."""
    from clients import watch as program

    options = program.WatchOptions(
        url=url, seconds=seconds, as_json=as_json, key=key, insecure=insecure
    )
    raise typer.Exit(program.run(options))


@config_cli.command("show")
def config_show(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Print the configuration in force, without secrets."""
    plain = shown(settings(config, data))
    if as_json:
        show(plain, as_json)
        return
    for section, values in plain.items():
        print(f"[{section}]")
        for name, value in values.items():
            # JSON texts, numbers, booleans and lists of texts are TOML, too.
            print(f"{name} = {json.dumps(value, ensure_ascii=False)}")
        print()


@config_cli.command("check")
def config_check(
    config: ConfigOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Say whether the configuration is usable; exit code 2 and the reason if not."""
    chosen = settings(config, data)
    show({"configuration": "ok", "mode": chosen.server.mode}, as_json)


def main() -> None:
    """Entry point: expected errors become one line on standard error."""
    try:
        cli()
    except (ConfigError, CommandError) as error:
        code = error.code if isinstance(error, CommandError) else "bad_configuration"
        if "--json" in sys.argv:
            print(json.dumps({"error": {"code": code, "message": str(error)}}))
        print(f"parlour: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
