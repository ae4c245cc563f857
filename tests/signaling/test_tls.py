"""The self-signed certificate of a local network."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509

from signaling import tls
from signaling.config import ConfigError, load

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def names_of(file: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def test_made_once_for_all_names_and_private(tmp_path: Path) -> None:
    certificate, key = tls.self_signed(tmp_path / "tls", ["localhost", "192.0.2.5"], NOW)
    assert names_of(certificate) == {"localhost", "192.0.2.5"}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = certificate.read_bytes()
    tls.self_signed(tmp_path / "tls", ["localhost"], NOW)
    assert certificate.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "later"),
    [(["localhost", "192.0.2.6"], dt.timedelta()), (["localhost"], dt.timedelta(days=340))],
)
def test_made_anew_for_new_names_and_before_it_expires(
    tmp_path: Path, names: list[str], later: dt.timedelta
) -> None:
    certificate, _ = tls.self_signed(tmp_path, ["localhost"], NOW)
    before = certificate.read_bytes()
    tls.self_signed(tmp_path, names, NOW + later)
    assert certificate.read_bytes() != before


def test_broken_file_is_replaced(tmp_path: Path) -> None:
    certificate, _ = tls.self_signed(tmp_path, ["localhost"], NOW)
    certificate.write_text("not a certificate")
    tls.self_signed(tmp_path, ["localhost"], NOW)
    assert names_of(certificate) == {"localhost"}


def test_context_modes(tmp_path: Path) -> None:
    assert tls.server_context(load(None, {}), NOW) is None
    flags = {"server": {"data": str(tmp_path), "tls": "self-signed"}}
    assert tls.server_context(load(None, {}, flags), dt.datetime.now(dt.UTC)) is not None
    flags = {"server": {"tls": "files", "tls_certificate_file": "/no", "tls_key_file": "/no"}}
    with pytest.raises(ConfigError, match="cannot use /no with /no"):
        tls.server_context(load(None, {}, flags), NOW)


def test_local_addresses_end_with_loopback() -> None:
    assert "127.0.0.1" in tls.local_addresses()
