"""TLS: the configured certificate, or a self-signed one for a local network."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signaling.config import Config, ConfigError

SELF_SIGNED_DAYS = 365
"""Browsers refuse certificates that live longer than 398 days."""
RENEW_BEFORE = dt.timedelta(days=30)


def server_context(config: Config, utc_now: dt.datetime) -> ssl.SSLContext | None:
    """The TLS context of the door, or None when a proxy or nobody speaks TLS."""
    server = config.server
    if server.tls == "off":
        return None
    if server.tls == "files":
        certificate, key = Path(server.tls_certificate_file), Path(server.tls_key_file)
    else:
        certificate, key = self_signed(config.data_dir / "tls", local_names(), utc_now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use {certificate} with {key}: {error}") from None
    return context


def local_addresses() -> list[str]:
    """Every address of this machine that another machine could use, then loopback."""
    found = [
        address
        for adapter in ifaddr.get_adapters()
        for entry in adapter.ips
        if (address := entry.ip if isinstance(entry.ip, str) else entry.ip[0])
    ]
    usable = [text for text in found if not ipaddress.ip_address(text).is_link_local]
    return sorted(set(usable), key=lambda text: (ipaddress.ip_address(text).is_loopback, text))


def local_names() -> list[str]:
    """Names and addresses under which a browser on the local network may reach this machine."""
    return ["localhost", socket.gethostname(), *local_addresses()]


def self_signed(folder: Path, names: Sequence[str], utc_now: dt.datetime) -> tuple[Path, Path]:
    """Certificate and key files, made anew when missing, nearly expired or for other names.

    They are kept so that a browser's exception for them stays valid across restarts.
    """
    certificate_file, key_file = folder / "self-signed.pem", folder / "self-signed.key"
    if not (key_file.exists() and _still_good(certificate_file, names, utc_now)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = _make(names, utc_now)
        _write_private(key_file, key)
        certificate_file.write_bytes(certificate)
    return certificate_file, key_file


def _alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    result: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return result


def _still_good(file: Path, names: Sequence[str], utc_now: dt.datetime) -> bool:
    if not file.exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    wanted = _alternative_names(names)
    return certificate.not_valid_after_utc - utc_now > RENEW_BEFORE and set(wanted) <= set(held)


def _make(names: Sequence[str], utc_now: dt.datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Parlour (self-signed)")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now - dt.timedelta(hours=1))
        .not_valid_after(utc_now + dt.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _write_private(file: Path, content: bytes) -> None:
    """Created with its final permissions, so that there is no moment when others can read it."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
