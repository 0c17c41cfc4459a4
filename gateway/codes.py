"""What a refusal of runnerd is called in HTTP and in gRPC: one table for both. Pure.

The codes are those of docs/PROTOCOL.md, and the gateway's own `unauthenticated`, `unavailable`,
`audit-unavailable`, `not-found` and the like. Sources: RFC 9110 (status codes), RFC 6585 (429),
google.rpc.Code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping


class Code(NamedTuple):
    """How one code is said: the HTTP status, the name of the gRPC status, a title for people."""

    http: int
    grpc: str
    title: str


CODES: Final[Mapping[str, Code]] = {
    "bad-frame": Code(400, "INVALID_ARGUMENT", "Not readable"),
    "bad-request": Code(400, "INVALID_ARGUMENT", "Not a request"),
    "hello-required": Code(500, "INTERNAL", "A defect of the gateway"),
    "unsupported-protocol": Code(502, "INTERNAL", "runnerd speaks another version"),
    "unknown-op": Code(501, "UNIMPLEMENTED", "runnerd does not know that operation"),
    "invalid-argument": Code(400, "INVALID_ARGUMENT", "An argument is wrong"),
    "no-such-job": Code(404, "NOT_FOUND", "No such job"),
    "no-such-schedule": Code(404, "NOT_FOUND", "No such schedule"),
    "no-such-queue": Code(404, "NOT_FOUND", "No such queue"),
    "is-group": Code(409, "FAILED_PRECONDITION", "A group was named where a job is meant"),
    "not-now": Code(409, "FAILED_PRECONDITION", "Not in a state for that"),
    "ambiguous-job": Code(409, "FAILED_PRECONDITION", "Several jobs match"),
    "ambiguous-schedule": Code(409, "FAILED_PRECONDITION", "Several schedules match"),
    "not-permitted": Code(403, "PERMISSION_DENIED", "Not permitted"),
    "unauthenticated": Code(401, "UNAUTHENTICATED", "The certificate does not count"),
    "job-active": Code(409, "FAILED_PRECONDITION", "The job has not ended"),
    "job-state": Code(409, "FAILED_PRECONDITION", "The job is not in a state for that"),
    "limit-below-use": Code(409, "FAILED_PRECONDITION", "The job uses more already"),
    "limit-unavailable": Code(422, "FAILED_PRECONDITION", "This host cannot enforce it"),
    "too-many-requests": Code(429, "RESOURCE_EXHAUSTED", "Too many requests"),
    "too-many-jobs": Code(429, "RESOURCE_EXHAUSTED", "Too many jobs wait"),
    "quota-exceeded": Code(429, "RESOURCE_EXHAUSTED", "The quota has no room"),
    "key-in-use": Code(409, "ALREADY_EXISTS", "The key was used for something else"),
    "draining": Code(503, "UNAVAILABLE", "No jobs are taken now"),
    "shutting-down": Code(503, "UNAVAILABLE", "runnerd is stopping"),
    "unavailable": Code(503, "UNAVAILABLE", "runnerd cannot be reached"),
    "slow-reader": Code(408, "RESOURCE_EXHAUSTED", "What was asked for was not read"),
    "cancelled": Code(499, "CANCELLED", "Cancelled"),
    "store-error": Code(503, "UNAVAILABLE", "runnerd cannot use its store"),
    "audit-unavailable": Code(503, "UNAVAILABLE", "The gateway cannot write its audit log"),
    "internal": Code(500, "INTERNAL", "A defect"),
}

# After how many seconds it is worth to try again, where the refusal itself does not say.
RETRY_AFTER_SECONDS: Final[Mapping[str, int]] = {
    "too-many-requests": 1,
    "too-many-jobs": 10,
    "quota-exceeded": 10,
    "draining": 30,
    "shutting-down": 2,
    "unavailable": 2,
    "store-error": 10,
    "audit-unavailable": 10,
}


def code_of(code: str) -> Code:
    """How a code is said; one that a newer runnerd has is a failed precondition."""
    return CODES.get(code) or Code(409, "FAILED_PRECONDITION", "runnerd refused it")


def as_refusal(error: BaseException) -> RequestRefused:
    """What an interface says for whatever a session raised; a defect is `internal`, unexplained."""
    if isinstance(error, RequestRefused):
        # A daemon that ends cancels what is in flight; no client of the gateway did.
        if error.code == "cancelled":
            return RequestRefused("shutting-down")
        return error
    if isinstance(error, ConnectionLost | DaemonUnavailable):
        return RequestRefused("unavailable", detail=_away(error))
    if isinstance(error, ProtocolError):
        return RequestRefused("internal", detail="runnerd answered something unknown")
    return RequestRefused("internal", detail="the gateway has a defect; its log has the details")


def _away(error: ConnectionLost | DaemonUnavailable) -> str:
    """Where its socket is concerns nobody outside."""
    if isinstance(error, DaemonUnavailable):
        return "runnerd cannot be reached by the gateway; try again soon"
    return "runnerd went away before it had answered; what it had accepted it keeps"
