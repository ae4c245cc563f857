"""What can go wrong for a client program: each with a code, an exit code and a readable text."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""The command cannot work as given: no key, an unreadable input, a codec nobody takes."""
EXIT_REFUSED = 3
"""The server answered, and said no."""
EXIT_UNREACHABLE = 4
"""Nobody answered, or the connection broke and was not to be repaired."""


class ClientFailure(Exception):
    """Base of them all; `str()` is the text for people. `retry` tells whether waiting may help."""

    code = "failed"
    exit_code = EXIT_FAILED
    retry = False


class KeyMissing(ClientFailure):
    """No stream key was given."""

    code = "key_missing"
    exit_code = EXIT_USAGE

    def __init__(self) -> None:
        super().__init__(
            "no stream key: give it with --key or in PARLOUR_STREAM_KEY"
            " (`parlour expert add NAME` prints one, the studio page shows another)"
        )


class InputUnreadable(ClientFailure):
    """The file, device or address cannot be opened, or broke while it was read."""

    code = "input_unreadable"
    exit_code = EXIT_USAGE


class InputLost(InputUnreadable):
    """A camera went away while it was read; it may come back."""

    code = "input_lost"
    retry = True


class CodecUnsupported(ClientFailure):
    """The input holds nothing that can be sent, or the server takes none of its codecs."""

    code = "codec_unsupported"
    exit_code = EXIT_USAGE


class BadAddress(ClientFailure):
    """The WHIP or WHEP address is not an http or https URL."""

    code = "bad_address"
    exit_code = EXIT_USAGE


class ServerRefused(ClientFailure):
    """An HTTP error. `status` is the HTTP status, `retry_after_s` what the server asked for."""

    code = "refused"
    exit_code = EXIT_REFUSED

    def __init__(self, status: int, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s
        self.retry = status in (429, 502, 503, 504)


class ServerUnreachable(ClientFailure):
    """No HTTP answer at all."""

    code = "unreachable"
    exit_code = EXIT_UNREACHABLE
    retry = True


class CertificateUnknown(ClientFailure):
    """TLS works, but nobody vouches for the certificate."""

    code = "certificate_unknown"
    exit_code = EXIT_REFUSED

    def __init__(self, host: str) -> None:
        super().__init__(
            f"nobody vouches for the certificate of {host};"
            " if it is your own self-signed one, add --insecure"
        )


class ConnectionLost(ClientFailure):
    """The HTTP part went well, but media never flowed, or stopped flowing."""

    code = "connection_lost"
    exit_code = EXIT_UNREACHABLE
    retry = True
