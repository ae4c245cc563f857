"""The certificate that peers are shown: one for all of them, renewed before it could run out."""

from collections.abc import Callable
from datetime import datetime, timedelta

from media.aiortc_seam import CERTIFICATE_VALID, Certificate, new_certificate

CERTIFICATE_LEFT_MIN = timedelta(days=7)
"""A new peer never gets a certificate with less left than this: a week is longer than any call,
and than what a client's clock is wrong by."""


class OwnCertificate:
    """`certificate` and `sha256_fingerprint` are for the next peer, after `renew_if_due`."""

    def __init__(self, utc_now: Callable[[], datetime]) -> None:
        self._utc_now = utc_now
        self._renew()

    def renew_if_due(self) -> None:
        """For peers from now on; those who are connected keep the one that they were shown."""
        if self._expires - self._utc_now() < CERTIFICATE_LEFT_MIN:
            self._renew()

    def _renew(self) -> None:
        self.certificate: Certificate = new_certificate()
        self.sha256_fingerprint: str = self.certificate.sha256_fingerprint()
        self._expires = self._utc_now() + CERTIFICATE_VALID
