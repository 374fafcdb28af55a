"""Certificates, the hub's as a node meets it and our own that we serve with: whether they hold, and for how long."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from node.doctor.findings import Finding, Words, fail, ok, warn

SOON_DAYS: Final = 14  # a renewal that runs by itself comes a month before the end; then something is wrong with it
HANDSHAKE_S: Final = 10.0

_RENEW: Final = Words(
    "Renew it, and restart what serves it.", "Perbarui sertifikat, lalu jalankan ulang layanan yang memakainya."
)


async def check_remote(host: str, port: int, context: ssl.SSLContext, now_ms: int) -> Finding | None:
    """The certificate of whoever answers there; None where nobody does, which is another check's to tell."""
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        words = error.verify_message.rstrip(".")
        step = Words(
            "Check the hub's address, this machine's clock and ca_file; if they are right, tell the hub's operator.",
            "Periksa alamat hub, jam mesin ini dan ca_file; bila semuanya benar, hubungi operator hub.",
        )
        detail = Words(f"the certificate of {host} is not accepted: {words}", f"sertifikat {host} ditolak: {words}")
        return fail("tls", detail, step)
    except (OSError, TimeoutError):
        return None
    try:
        data = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return _of_age(host, x509.load_der_x509_certificate(data), now_ms)


def check_own(certificate: Path, host: str | None, now_ms: int) -> Finding:
    """The one in `tls_cert`; `host` is the name by which others reach us, if it is known."""
    try:
        found = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "it holds no certificate"
        step = Words("Correct tls_cert in simpul.toml.", "Perbaiki tls_cert di simpul.toml.")
        detail = Words(f"{certificate} cannot be used: {words}", f"{certificate} tidak dapat dipakai: {words}")
        return fail("tls", detail, step)
    if host is not None and not _names(found, host):
        step = Words(
            "Take a certificate for the name in public_url, or correct public_url.",
            "Pakai sertifikat untuk nama di public_url, atau perbaiki public_url.",
        )
        detail = Words(f"{certificate} is not for {host}", f"{certificate} bukan untuk {host}")
        return fail("tls", detail, step)
    return _of_age(str(certificate), found, now_ms)


def _of_age(whose: str, certificate: x509.Certificate, now_ms: int) -> Finding:
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    days = (certificate.not_valid_after_utc - now).days
    until = certificate.not_valid_after_utc.date().isoformat()
    if now < certificate.not_valid_before_utc or days < 0:
        detail = Words(
            f"the certificate of {whose} does not hold today (until {until})",
            f"sertifikat {whose} tidak berlaku hari ini (sampai {until})",
        )
        return fail("tls", detail, _RENEW)
    detail = Words(
        f"the certificate of {whose} holds until {until}: {days} day(s)",
        f"sertifikat {whose} berlaku sampai {until}: {days} hari",
    )
    return warn("tls", detail, _RENEW) if days < SOON_DAYS else ok("tls", detail)


def _names(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate is for `host`: an exact name, or a wildcard for its first label."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    dns = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    host = host.lower()
    return host in dns | addresses or f"*.{host.partition('.')[2]}" in dns
