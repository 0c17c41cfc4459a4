"""What is said when a gateway cannot be reached, or a certificate is not accepted on either side.

Prose alone, made of OpenSSL's and the network's errors; `client.remote` meets them.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

from client.certificate_end import certificate_end
from client.errors import ClientError, ConnectionLost, DaemonUnavailable, NotTrusted
from client.text import printable

if TYPE_CHECKING:
    from client.contexts import Context

_RENEW: Final = "have it renewed"
_ASK: Final = "ask whoever runs it"
# Of X509_V_ERR_… of OpenSSL, what more is to be said than its own words.
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_UNKNOWN_ISSUER: Final = (18, 19, 20, 21)
_SAID_OF_THEIRS: Final = {
    _EXPIRED: f"its certificate has expired; {_ASK}",
    _NOT_YET: "its certificate is not valid yet; compare the clocks of both machines",
}
# Alerts about our certificate, by what OpenSSL calls them (RFC 8446, 6.2).
_ALERTS: Final = {
    "CERTIFICATE_EXPIRED": f"it has expired; {_RENEW}",
    "CERTIFICATE_REVOKED": f"it was revoked; {_ASK}",
    "UNKNOWN_CA": f"another authority signed it than the gateway trusts; {_ASK}",
    "UNSUPPORTED_CERTIFICATE": f"it is not one for clients; {_ASK}",
    "CERTIFICATE_REQUIRED": f"none was shown; {_ASK}",
    "BAD_CERTIFICATE": _ASK,
    "CERTIFICATE_UNKNOWN": _ASK,
    "ACCESS_DENIED": _ASK,
    "DECRYPT_ERROR": _ASK,
}
_NO_TLS: Final = (
    "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE",
)  # fmt: skip
_NO_COMMON_PROTOCOL: Final = ("NO_APPLICATION_PROTOCOL",)


def unavailable(context: Context, error: OSError | UnicodeError) -> DaemonUnavailable:
    """Why the gateway cannot be reached, and what to do about it."""
    address = context.address
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, socket.gaierror) else "it cannot be a name"
        text = f"{context.name}: the host {context.host} is not known ({why})"
        remedy = "see the name and this machine's network"
        return DaemonUnavailable("unknown-host", address, text, remedy)
    if isinstance(error, ConnectionRefusedError):
        text = f"{context.name}: nobody listens at {address}"
        return DaemonUnavailable("refused", address, text, "see whether runner-gateway runs there")
    if isinstance(error, TimeoutError | BlockingIOError):
        text = f"{context.name}: nobody answers at {address} in time"
        return DaemonUnavailable("silent", address, text, "see the network and its firewalls")
    text = f"{context.name}: cannot reach {address}: {error.strerror or error}"
    return DaemonUnavailable("other", address, text, "see this machine's network")


def own_fault(context: Context, error: OSError) -> str:
    """Why our certificate and key cannot be used."""
    certificate, key = printable(context.certificate), printable(context.key)
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return f"{key} is the key of another certificate than {certificate}"
    if not _holds(context.certificate, b"-----BEGIN CERTIFICATE-----"):
        return f"{certificate} holds no certificate (PEM)"
    if _holds(context.key, b"ENCRYPTED"):
        return f"{key} is encrypted; give a key without a password, readable for you alone"
    return f"{key} holds no key (PEM), or {certificate} no certificate that can be read"


def _holds(path: str, text: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return text in file.read(1024 * 1024)
    except OSError:
        return False


def not_trusted(context: Context, error: ssl.SSLError) -> ClientError:
    """Why the handshake came to nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTrusted(f"{context}: {_their_fault(context, error)}")
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLEOFError):
        return ConnectionLost(said_nothing(context))
    if any(word in reason for word in _NO_COMMON_PROTOCOL):
        return NotTrusted(
            f"{context}: what answers there speaks TLS, but is not a gateway of runnerd that takes "
            "runctl; see the port"
        )
    if reason in _NO_TLS:
        return NotTrusted(f"{context}: what answers there does not speak TLS; see the port")
    if "ALERT_PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return NotTrusted(f"{context}: what answers there does not speak TLS 1.3")
    return refused_later(context, error)


def _their_fault(context: Context, error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"its certificate is not for {context.host}; use the name that it is for, or {_ASK}"
    if code in _UNKNOWN_ISSUER:
        return (
            f"the authority in {printable(context.ca)} did not sign its certificate: it is another "
            f"gateway, or another authority; {_ASK}"
        )
    return _SAID_OF_THEIRS.get(code) or (
        f"its certificate is not accepted ({error.verify_message}); {_ASK}"
    )


def refused_later(context: Context, error: ssl.SSLError) -> ClientError:
    """An alert: after the handshake was over for us, the gateway has looked at our certificate."""
    reason = error.reason or str(error)
    certificate = printable(context.certificate)
    if reason.endswith("ALERT_CERTIFICATE_EXPIRED") and (still := _counts_until(context)):
        # Of a revocation list that has ended OpenSSL says the same.
        return NotTrusted(
            f"{context}: the gateway says that the certificate {certificate} has expired, but by "
            f"this machine's clock it counts until {still}: the gateway's revocation list may have "
            f"ended (`runner-gateway pki crl` there signs the next), or a clock is wrong; {_ASK}"
        )
    for alert, said in _ALERTS.items():
        if reason.endswith(f"ALERT_{alert}"):
            return NotTrusted(
                f"{context}: the gateway did not accept the certificate {certificate}: {said}"
                if said != _ASK
                else f"{context}: the gateway did not accept the certificate {certificate}; {said}"
            )
    if "_ALERT_" in reason:
        words = reason.rpartition("_ALERT_")[2].replace("_", " ").lower()
        return NotTrusted(f"{context}: the gateway refused the connection ({words}); {_ASK}")
    return ConnectionLost(f"the connection to {context.address} broke (TLS: {reason})")


def _counts_until(context: Context) -> str | None:
    """The end of our certificate, where it is still to come by our clock."""
    end = certificate_end(context.certificate)
    if end is None or end <= time.time():
        return None
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(end))


def said_nothing(context: Context) -> str:
    """Of a connection that ended before anything came: what that may mean."""
    return (
        f"the gateway at {context.address} closed the connection before it said a word: it is "
        "stopping or has too many connections, or it does not accept the certificate "
        f"{printable(context.certificate)}; {_ASK}"
    )
