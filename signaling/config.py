"""Configuration: one TOML file, then PARLOUR__SECTION__KEY, then flags; refused by name if unknown.

Every key has a default, so an empty file is a valid configuration for one machine. The
annotated sample is `parlour.toml` at the root of the repository.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from yarl import URL

from billing_meter.database import DatabaseRefused, parsed_address, shown_address
from billing_meter.descriptor import descriptor_fault
from signaling.settings_mail import MailSection
from signaling.settings_shares import SharesSection
from signaling.settings_stripe import StripeSection

ENV_PREFIX = "PARLOUR__"
SECRET_CHARS_MIN = 32
"""256 bits of HMAC key as hex are 64 characters; 32 is the least that is not guessable."""
SECRET_KEYS = frozenset(
    {
        "auth.secret",
        "ice.turn_secret",
        "mail.password",
        "money.eligibility_secret",
        "stripe.secret_key",
        "stripe.webhook_secret",
    }
)

GONE = {"money.expert_share_percent": "there is a share for each feature now, in [shares]"}
"""Keys of earlier versions, and what became of them."""

CATEGORIES = (
    "astrology",
    "clairvoyance",
    "dream-interpretation",
    "meditation",
    "reiki",
    "tarot",
)
"""Stable slugs; their names in each language are in the browser client's catalogs."""

Layer = Mapping[str, Mapping[str, object]]
PositiveInt = Annotated[int, Meta(ge=1)]


class ConfigError(Exception):
    """A configuration that is refused; the text is one line and names the key."""


class ServerSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the door is and who may knock."""

    mode: Literal["development", "production"] = "development"
    http: str = "127.0.0.1:8080"
    public_url: str = ""
    data: str = "./data"
    origins: list[str] = []
    trusted_proxies: list[str] = []
    country_header: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]{0,64}\Z")] = ""
    tls: Literal["off", "files", "self-signed"] = "off"
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    drain_s: Annotated[int, Meta(ge=0, le=600)] = 10


class MediaSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one UDP port of all media."""

    listen: str = "127.0.0.1:8189"
    advertised: list[str] = []


class IceSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """STUN and TURN servers told to clients; TURN passwords are made per client by HMAC."""

    stun_urls: list[str] = []
    turn_urls: list[str] = []
    turn_secret: str = ""
    transport_policy: Literal["all", "relay"] = "all"
    """Whether pages may reach the media port directly, or through TURN only."""
    ttl_s: Annotated[int, Meta(ge=60, le=86_400)] = 3_600


class AuthSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions and tokens. An empty secret becomes a random one kept in the data directory."""

    secret: str = ""
    session_days: Annotated[int, Meta(ge=1, le=365)] = 30
    logins_per_minute_per_address: PositiveInt = 20
    sign_ups_per_hour_per_address: PositiveInt = 20
    guests_per_minute_per_address: PositiveInt = 60


class StoreSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The database; empty means SQLite in the data directory."""

    database_url: str = ""
    node: Annotated[str, Meta(pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z")] = ""


class MoneySection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payments. `fake` gives credits away and is for development and the demo only."""

    provider: Literal["none", "fake", "stripe"] = "fake"
    statement_descriptor: str = "PRL SERVICES"
    country: Annotated[str, Meta(pattern=r"\A([A-Z]{2})?\Z")] = ""
    method_countries: list[
        Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,31}=[A-Z]{2}( [A-Z]{2})*\Z")]
    ] = []

    eligibility_secret: str = ""
    payout_provider: Literal["", "manual", "fake"] = ""
    payout_minimum_credits: Annotated[int, Meta(ge=1, le=1_000_000)] = 50

    @property
    def pays_out_by(self) -> Literal["manual", "fake"]:
        """How experts are paid; unless it is chosen, as payments are real or not."""
        if self.payout_provider:
            return self.payout_provider
        return "fake" if self.provider == "fake" else "manual"

    def countries_of_methods(self) -> dict[str, frozenset[str]]:
        """Method → where it is offered; a method that is not named is offered everywhere."""
        pairs = (text.split("=") for text in self.method_countries)
        return {method: frozenset(countries.split()) for method, countries in pairs}


class RoomsSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the site is about."""

    categories: list[Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")]] = msgspec.field(
        default_factory=lambda: list(CATEGORIES)
    )


class LogSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`auto` writes for people on a terminal and JSON elsewhere."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class MetricsSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Networks that may read /metrics."""

    allow: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration, validated."""

    server: ServerSection = ServerSection()
    media: MediaSection = MediaSection()
    ice: IceSection = IceSection()
    auth: AuthSection = AuthSection()
    store: StoreSection = StoreSection()
    money: MoneySection = MoneySection()
    shares: SharesSection = SharesSection()
    stripe: StripeSection = StripeSection()
    mail: MailSection = MailSection()
    rooms: RoomsSection = RoomsSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()

    @property
    def data_dir(self) -> Path:
        """The data directory as a path."""
        return Path(self.server.data)

    @property
    def database_url(self) -> str:
        """The configured database, or SQLite in the data directory."""
        return self.store.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'parlour.db'}"

    @property
    def production(self) -> bool:
        """Whether unsafe settings are refused."""
        return self.server.mode == "production"

    @property
    def serves_tls(self) -> bool:
        """Whether this process itself speaks TLS."""
        return self.server.tls != "off"


def load(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Layer | None = None,
) -> Config:
    """Merge the layers and validate; raise ConfigError with one line that names the key."""
    merged: dict[str, dict[str, object]] = {}
    for layer in (_read_file(file), _read_environ(environ), flags or {}):
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_readable(error)) from None
    _check_meaning(config)
    return config


def shown(config: Config) -> dict[str, dict[str, object]]:
    """The configuration for display, secrets left out."""
    plain: dict[str, dict[str, object]] = msgspec.to_builtins(config)
    for name in SECRET_KEYS:
        section, key = name.split(".")
        if plain[section][key]:
            plain[section][key] = "(set, not shown)"
    if config.store.database_url:
        plain["store"]["database_url"] = shown_address(parsed_address(config.store.database_url))
    return plain


def host_port(text: str, key: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[V6]:PORT`; port 0 means any free one."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{key}: {text!r} is not HOST:PORT")
    return host, int(port)


def _read_file(file: Path | None) -> Layer:
    if file is None:
        return {}
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: unknown key {section!r}: keys belong in a [section]")
        for key in values:
            _known_type(section, key)
    return tree


def _read_environ(environ: Mapping[str, str]) -> Layer:
    layer: dict[str, dict[str, object]] = {}
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX):
            continue
        section, separator, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
        if not separator:
            raise ConfigError(f"{name}: expected {ENV_PREFIX}SECTION__KEY")
        kind = _known_type(section, key, shown_as=name)
        layer.setdefault(section, {})[key] = _from_text(text, kind, name)
    return layer


def _from_text(text: str, kind: Any, name: str) -> object:
    """A value from the environment: text, a number, or a list separated by commas."""
    if get_origin(kind) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {error}") from None


def _known_type(section: str, key: str, shown_as: str = "") -> Any:
    """The declared type of a key, or a refusal that suggests the nearest one."""
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    name = shown_as or f"{section}.{key}"
    if section not in sections:
        raise ConfigError(f"unknown section in {name!r}{_suggest(section, sections)}")
    keys = get_type_hints(sections[section], include_extras=True)
    if key not in keys and f"{section}.{key}" in GONE:
        raise ConfigError(f"{name}: {GONE[f'{section}.{key}']}")
    if key not in keys:
        raise ConfigError(f"unknown key {name!r}{_suggest(key, keys)}")
    return keys[key]


def _suggest(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _readable(error: msgspec.ValidationError) -> str:
    """msgspec says "text - at `$.section.key`"; people want the key first."""
    text, at, path = str(error).rpartition(" - at ")
    return f"{path.strip('`').removeprefix('$.')}: {text}" if at else str(error)


def _check_meaning(config: Config) -> None:
    """What types cannot say; production adds refusals of what is only safe at home."""
    host_port(config.server.http, "server.http")
    host_port(config.media.listen, "media.listen")
    for key, networks in (
        ("server.trusted_proxies", config.server.trusted_proxies),
        ("metrics.allow", config.metrics.allow),
    ):
        for network in networks:
            _check_network(key, network)
    for address in config.media.advertised:
        _check_address("media.advertised", address)
    _check_urls(config)
    _check_store(config)
    if config.server.tls == "files" and not (
        config.server.tls_certificate_file and config.server.tls_key_file
    ):
        raise ConfigError(
            'server.tls = "files" needs server.tls_certificate_file and server.tls_key_file'
        )
    for key, secret in (
        ("auth.secret", config.auth.secret),
        ("money.eligibility_secret", config.money.eligibility_secret),
    ):
        if secret and len(secret) < SECRET_CHARS_MIN:
            raise ConfigError(f"{key}: shorter than {SECRET_CHARS_MIN} characters")
    if config.ice.turn_urls and not config.ice.turn_secret:
        raise ConfigError("ice.turn_urls is set but ice.turn_secret is empty")
    if config.ice.transport_policy == "relay" and not config.ice.turn_urls:
        raise ConfigError('ice.transport_policy = "relay" needs ice.turn_urls')
    _check_payments(config)
    _check_mail(config.mail)
    if config.production:
        _check_production(config)


def _check_payments(config: Config) -> None:
    chosen = config.money.provider == "stripe"
    for fault in config.stripe.faults(chosen=chosen, production=config.production):
        raise ConfigError(fault)
    host = (URL(config.server.public_url).host or "") if config.server.public_url else ""
    names = host.split(".")[:-1]
    descriptor, prefix = config.money.statement_descriptor, config.stripe.descriptor_prefix
    told = {"money.statement_descriptor": descriptor}
    if prefix:
        told["stripe.descriptor_prefix with the descriptor"] = f"{prefix}- {descriptor}"
    for key, text in told.items():
        refused = descriptor_fault(text, names)
        if refused is not None:
            raise ConfigError(f"{key}: {refused}")


def _check_mail(mail: MailSection) -> None:
    at_home = bool(mail.smtp) and is_loopback(host_port(mail.smtp, "mail.smtp")[0])
    for fault in mail.faults(server_is_loopback=at_home):
        raise ConfigError(fault)


def _check_store(config: Config) -> None:
    if not config.store.database_url:
        return
    try:
        parsed_address(config.store.database_url)
    except DatabaseRefused as error:
        raise ConfigError(f"store.database_url: {error}") from None


def _check_network(key: str, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _check_address(key: str, text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _check_urls(config: Config) -> None:
    named = [("server.origins", origin) for origin in config.server.origins]
    if config.server.public_url:
        named.append(("server.public_url", config.server.public_url))
    for key, text in named:
        try:
            url = URL(text)
        except ValueError as error:
            raise ConfigError(f"{key}: {text!r}: {error}") from None
        if url.scheme not in ("http", "https") or not url.host or str(url.origin()) != text:
            raise ConfigError(f"{key}: {text!r} is not an origin such as https://example.org")


def _check_production(config: Config) -> None:
    """Each refusal names the setting and what is unsafe about it."""
    server = config.server
    http_host, _ = host_port(server.http, "server.http")
    refusals = (
        (
            not server.public_url.startswith("https://"),
            "server.public_url: production needs an https:// address",
        ),
        (
            server.tls == "self-signed",
            'server.tls = "self-signed": browsers cannot tell it from an attack',
        ),
        (
            server.tls == "off" and not server.trusted_proxies and not is_loopback(http_host),
            'server.tls = "off": sessions would cross the network in clear; '
            'use "files" or name the TLS proxy in server.trusted_proxies',
        ),
        (
            any(origin.startswith("http://") for origin in server.origins),
            "server.origins: an http:// origin is not safe",
        ),
        (
            config.money.provider == "fake",
            'money.provider = "fake": it gives credits away',
        ),
        (
            config.money.pays_out_by == "fake",
            'money.payout_provider = "fake": it notes payouts as paid that nobody paid',
        ),
        (
            any(ipaddress.ip_network(text).prefixlen == 0 for text in config.metrics.allow),
            "metrics.allow: the whole internet may read the metrics",
        ),
    )
    for unsafe, reason in refusals:
        if unsafe:
            raise ConfigError(f"not in production: {reason}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
