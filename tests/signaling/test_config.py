"""Configuration: layers, refusals by name, and what production does not allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from signaling.config import Config, ConfigError, host_port, load, shown

SAFE = {
    "server": {
        "mode": "production",
        "public_url": "https://parlour.example",
        "trusted_proxies": ["127.0.0.1/32"],
    },
    "money": {"provider": "none"},
}


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "parlour.toml"
    file.write_text(text)
    return file


def test_empty_is_valid_and_serves_this_machine_only() -> None:
    config = load(None, {})
    assert config == Config()
    assert config.server.http == "127.0.0.1:8080"
    assert config.media.listen == "127.0.0.1:8189"
    assert config.database_url == "sqlite+aiosqlite:///data/parlour.db"


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[server]\nhttp = "127.0.0.1:1"\ndata = "file"\ndrain_s = 3\n')
    environ = {"PARLOUR__SERVER__HTTP": "127.0.0.1:2", "PARLOUR__SERVER__DATA": "env", "HOME": "/"}
    config = load(file, environ, {"server": {"http": "127.0.0.1:3"}})
    assert (config.server.http, config.server.data, config.server.drain_s) == (
        "127.0.0.1:3",
        "env",
        3,
    )


def test_environment_has_numbers_and_lists() -> None:
    config = load(
        None,
        {
            "PARLOUR__SERVER__DRAIN_S": "7",
            "PARLOUR__MEDIA__ADVERTISED": "192.0.2.1, 2001:db8::1",
            "PARLOUR__ICE__STUN_URLS": "",
        },
    )
    assert config.server.drain_s == 7
    assert config.media.advertised == ["192.0.2.1", "2001:db8::1"]
    assert config.ice.stun_urls == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[server]\nhtp = "x"\n', "unknown key 'server.htp'; did you mean 'http'?"),
        ("[sever]\nhttp = 1\n", "unknown section in 'sever.http'; did you mean 'server'?"),
        ('http = "x"\n', "keys belong in a [section]"),
        ("[server]\ndrain_s = 601\n", "server.drain_s"),
        ('[server]\ndrain_s = "ten"\n', "server.drain_s"),
        ('[server]\nhttp = "8080"\n', "server.http: '8080' is not HOST:PORT"),
        ('[server]\nhttp = "h:99999"\n', "server.http"),
        ("[server\n", "parlour.toml"),
        ('[server]\ntrusted_proxies = ["lan"]\n', "server.trusted_proxies"),
        ('[media]\nadvertised = ["example.org"]\n', "media.advertised"),
        ('[server]\norigins = ["*"]\n', "server.origins"),
        ('[server]\norigins = ["https://a.example/"]\n', "server.origins"),
        ('[server]\npublic_url = "ftp://a"\n', "server.public_url"),
        ('[server]\ntls = "files"\n', "server.tls_certificate_file"),
        ('[auth]\nsecret = "short"\n', "auth.secret"),
        ('[ice]\nturn_urls = ["turn:t.example"]\n', "ice.turn_secret"),
        ('[ice]\ntransport_policy = "relay"\n', "ice.turn_urls"),
        ('[money]\nstatement_descriptor = "a<b>cdef"\n', "money.statement_descriptor"),
        ("[money]\nexpert_share_percent = 60\n", "money.expert_share_percent: there is a share"),
        ("[shares]\nstory = 101\n", "shares.story: Expected `int` <= 100"),
        ("[shares]\ngroup = -1\n", "shares.group: Expected `int` >= 0"),
        ("[shares]\nprivate = 59.5\n", "shares.private: Expected `int`"),
        ("[shares]\ntip = 60\n", "unknown key 'shares.tip'"),
        ('[rooms]\ncategories = ["Tarot Cards"]\n', "rooms.categories"),
        ('[store]\ndatabase_url = "parlour.db"\n', "store.database_url"),
        ('[store]\ndatabase_url = "postgresql://h/p"\n', "none of sqlite+aiosqlite, postgresql+"),
    ],
)
def test_refused_by_name_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(written(tmp_path, text), {})
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PARLOUR__SERVER": "x"}, "PARLOUR__SERVER: expected"),
        ({"PARLOUR__SERVER__HTPP": "x"}, "did you mean 'http'?"),
        ({"PARLOUR__SERVER__DRAIN_S": "soon"}, "PARLOUR__SERVER__DRAIN_S"),
    ],
)
def test_environment_is_refused_by_name(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        load(None, environ)


def test_the_password_of_a_database_is_not_shown(tmp_path: Path) -> None:
    text = '[store]\ndatabase_url = "postgresql+asyncpg://parlour:swordfish@db/parlour"\n'
    plain = shown(load(written(tmp_path, text), {}))
    assert plain["store"]["database_url"] == "postgresql+asyncpg://parlour:***@db/parlour"


def test_missing_file_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/p\.toml: No such file"):
        load(Path("/nowhere/p.toml"), {})


def test_safe_production_is_accepted() -> None:
    assert load(None, {}, SAFE).production


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("server", "public_url", "", "server.public_url"),
        ("server", "public_url", "http://parlour.example", "server.public_url"),
        ("server", "tls", "self-signed", "server.tls"),
        ("server", "origins", ["http://parlour.example"], "server.origins"),
        ("money", "provider", "fake", "money.provider"),
        ("money", "payout_provider", "fake", "money.payout_provider"),
        ("metrics", "allow", ["0.0.0.0/0"], "metrics.allow"),
        ("metrics", "allow", ["::/0"], "metrics.allow"),
    ],
)
def test_production_refuses_what_is_safe_only_at_home(
    section: str, key: str, value: object, says: str
) -> None:
    layers = {name: dict(values) for name, values in SAFE.items()}
    layers.setdefault(section, {})[key] = value
    with pytest.raises(ConfigError, match=f"not in production: {says}"):
        load(None, {}, layers)


def test_production_refuses_plain_http_on_the_network() -> None:
    layers = {name: dict(values) for name, values in SAFE.items()}
    layers["server"] |= {"http": "0.0.0.0:80", "trusted_proxies": []}
    with pytest.raises(ConfigError, match="cross the network in clear"):
        load(None, {}, layers)


def test_shown_hides_secrets() -> None:
    config = load(None, {"PARLOUR__AUTH__SECRET": "s" * 32, "PARLOUR__ICE__TURN_SECRET": "turned"})
    text = repr(shown(config))
    assert "s" * 32 not in text
    assert "turned" not in text
    assert shown(config)["auth"]["secret"] == "(set, not shown)"


MAIL = {
    "smtp": "mx.example.org:587",
    "sender": "mail@example.org",
    "support": "help@example.org",
    "username": "u",
    "password": "the-mail-password",
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"smtp": "mx.example.org"}, "mail.smtp"),
        ({"sender": ""}, "mail.sender"),
        ({"sender": "a@b.test\nBcc: c@d.test"}, "mail.sender"),
        ({"sender_name": "a\r\nBcc: b@c.test"}, "mail.sender_name"),
        ({"sender_name": "a\n"}, "mail.sender_name"),
        ({"support": ""}, "mail.support"),
        ({"support": "help@example.org\n"}, "mail.support"),
        ({"support": "http://example.org/help"}, "mail.support"),
        ({"security": "none"}, "password would cross"),
        ({"security": "none", "username": "", "password": ""}, "mails would cross"),
        ({"security": "ssl"}, "mail.security"),
        ({"password": ""}, "mail.username and mail.password"),
        ({"timeout_s": 0}, "mail.timeout_s"),
    ],
)
def test_mail_settings_are_refused_by_name(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(None, {}, {"mail": MAIL | change})


def test_mail_settings_that_are_right() -> None:
    config = load(None, {}, {"mail": MAIL})
    assert "the-mail-password" not in repr(shown(config))
    assert load(None, {}, {"mail": MAIL | {"support": "https://example.org/help"}}).mail.support
    at_home = MAIL | {"smtp": "127.0.0.1:25", "security": "none"}
    assert load(None, {}, {"mail": at_home}).mail.smtp_server().port == 25


def test_host_port() -> None:
    assert host_port("[::1]:80", "k") == ("::1", 80)
    assert host_port("localhost:0", "k") == ("localhost", 0)


def test_the_annotated_sample_is_valid_and_complete() -> None:
    """It names every key with its default, so that what it says is what happens without it."""
    sample = Path(__file__).resolve().parents[2] / "parlour.toml"
    assert load(sample, {}) == Config()
    text = sample.read_text()
    for section, values in shown(Config()).items():
        assert f"[{section}]" in text
        for key in values:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, f"{section}.{key}"
