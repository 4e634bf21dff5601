"""Check a server's certificate before it is used: whether it belongs to its key, and when it expires."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from ..errors import OptionError

_DAY_S = 86400.0


def days_left(certificate: Path, key: Path) -> float:
    """The days until a certificate expires.

    Raises `OptionError` for files that are no certificate and its key, and for an expired certificate.
    """
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        served.load_cert_chain(certificate, key, password=_no_password)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate vouches for itself
        trusting.load_verify_locations(certificate)
        known = _handshake(served, trusting)
    except ssl.SSLCertVerificationError as error:
        raise OptionError(f"The certificate {certificate} cannot be used: {error.verify_message}.") from error
    except (OSError, ValueError) as error:  # SSLError is one
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"{certificate} and {key} are not a certificate and its key, in PEM and without a password "
            f"({reason})."
        ) from error
    return (ssl.cert_time_to_seconds(str(known["notAfter"])) - time.time()) / _DAY_S


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _handshake(served: ssl.SSLContext, trusting: ssl.SSLContext) -> dict[str, object]:
    """Do the handshake of both sides in memory; return the facts of the verified certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for _ in range(10):
        greeted = 0
        for side in (client, server):
            try:
                side.do_handshake()
                greeted += 1
            except ssl.SSLWantReadError:
                pass
        if greeted == 2:
            return dict(client.getpeercert() or {})
    raise ValueError("no handshake")
