"""Why a handshake failed, in words: gateway.handshakes."""

from __future__ import annotations

import ssl

import pytest

from gateway.handshakes import failure


def tls_error(reason: str | None) -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = reason  # type: ignore[assignment]
    return error


def verify_error(code: int, message: str = "something new") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (verify_error(10), "expired"),
        (verify_error(23), "revoked"),
        (verify_error(12), "list-expired"),
        (verify_error(999), "certificate"),
        (tls_error("HTTP_REQUEST"), "not-tls"),
        (tls_error("UNSUPPORTED_PROTOCOL"), "old-tls"),
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), "client-refused"),
        (tls_error("SOMETHING_NEW"), "handshake"),
        (tls_error(None), "handshake"),
        (ConnectionAbortedError(), "timeout"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "closed"),
        (OSError(5, "x"), "closed"),
    ],
)
def test_each_failure_has_a_word(error: Exception, reason: str) -> None:
    assert failure(error).reason == reason


def test_what_is_not_known_is_said_in_openssls_words() -> None:
    assert failure(verify_error(999)).sentence == "something new"
    assert failure(tls_error("SOMETHING_NEW")).sentence == "something new"
    assert "unknown ca" in failure(tls_error("TLSV1_ALERT_UNKNOWN_CA")).sentence
