"""Why a handshake failed: from OpenSSL's numbers to a word for metrics and a sentence for the log.

Pure. `door` meets the errors; the words are the values of a label, so they are few and stay.
"""

from __future__ import annotations

import ssl
from typing import Final, NamedTuple


class Failure(NamedTuple):
    """`reason` is one of a small set; `sentence` is for people."""

    reason: str
    sentence: str


# The numbers of x509_vfy.h, which `ssl` hands on as they are.
_BY_VERIFY_CODE: Final = {
    3: ("no-list", "there is no revocation list of the certificate's authority"),
    9: ("not-yet-valid", "the certificate is not valid yet (or a clock is wrong)"),
    10: ("expired", "the certificate has ended"),
    11: ("list-expired", "the revocation list is not valid yet"),
    12: ("list-expired", "the revocation list has ended; `runner-gateway pki crl` signs the next"),
    18: ("unknown-authority", "the certificate is signed by itself, not by a trusted authority"),
    19: ("unknown-authority", "the certificate's authority is not trusted here"),
    20: ("unknown-authority", "the certificate's authority is not trusted here"),
    21: ("unknown-authority", "the certificate's authority is not trusted here"),
    23: ("revoked", "the certificate was revoked"),
    26: ("purpose", "the certificate is not one for clients"),
}
_BY_REASON: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no-certificate", "no certificate was shown"),
    "UNSUPPORTED_PROTOCOL": ("old-tls", "it speaks an older TLS than 1.3"),
    "NO_SHARED_CIPHER": ("no-shared-cipher", "it has no cipher suite of TLS 1.3"),
    "HTTP_REQUEST": ("not-tls", "it speaks HTTP without TLS"),
    "HTTPS_PROXY_REQUEST": ("not-tls", "it takes this for a proxy"),
    "WRONG_VERSION_NUMBER": ("not-tls", "it does not speak TLS"),
    "UNEXPECTED_EOF_WHILE_READING": ("closed", "it closed the connection"),
    "BAD_SIGNATURE": ("wrong-key", "it has not the key of the certificate that it shows"),
}


def failure(error: BaseException) -> Failure:
    """What to say of an exception that a handshake ended with."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _BY_VERIFY_CODE.get(error.verify_code)
        return Failure(*known) if known else Failure("certificate", error.verify_message)
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return Failure("timeout", "it took too long")
    return Failure("closed", "it closed the connection")


def _of_tls(error: ssl.SSLError) -> Failure:
    reason = error.reason or "unknown"
    if reason in _BY_REASON:
        return Failure(*_BY_REASON[reason])
    if "_ALERT_" in reason:
        return Failure("client-refused", f"it refused the gateway's certificate ({_words(reason)})")
    return Failure("handshake", _words(reason))


def _words(reason: str) -> str:
    """OpenSSL's names read as English once they are in lower case."""
    return reason.lower().replace("_", " ")
