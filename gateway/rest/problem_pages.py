"""What each code of a problem means and what to do, in a sentence or two. Data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MEANINGS: Final[Mapping[str, str]] = {
    "ambiguous-job": "The prefix or name stands for several jobs or groups: `candidates` has their "
    "ids. Give more of the id.",
    "ambiguous-schedule": "The prefix or name stands for several schedules. Give more of the id.",
    "audit-unavailable": "The gateway cannot write its audit log, and nothing is done without it. "
    "Its own log says why; it tries again by itself. Try again after the time in Retry-After.",
    "bad-frame": "What was sent could not be read.",
    "bad-request": "The body is not JSON, or not of the form that this address takes.",
    "body-too-large": "The body is larger than the gateway takes: `allowed` has the bound in "
    "bytes. Put large input into a file that the job reads.",
    "cancelled": "The request was cancelled before it was answered.",
    "draining": "runnerd takes no jobs now, for maintenance or because its disk is full. Try again "
    "after the time in Retry-After.",
    "header-too-large": "The address or a header is longer than the gateway takes.",
    "hello-required": "A defect of the gateway; its log has the details.",
    "internal": "A defect of the gateway or of runnerd; their logs have the details. `request_id` "
    "says which request it was.",
    "invalid-argument": "`field` is wrong: `given` is what was sent, `allowed` what would do.",
    "is-group": "An array or a flow was named where one job is meant. Use the addresses of groups, "
    "or name one of its jobs: GROUP.INDEX or GROUP.STEP.",
    "job-active": "The job has not ended. Stop it first, and wait for its end.",
    "job-state": "The job is not in a state for that: `given` is its state.",
    "key-in-use": "The idempotency key was used for another command. Use another key, or remove "
    "that job once it has ended.",
    "limit-below-use": "The job uses more than the new limit already.",
    "limit-unavailable": "This host cannot enforce the limit `field`: `detail` says what is "
    "missing. No limit is ever silently skipped.",
    "method-not-allowed": "The address is there, but not with this method: the header Allow has "
    "those that are.",
    "no-such-job": "No job of yours matches. Jobs of others answer the same.",
    "no-such-queue": "There is no queue of that name for you: `allowed` has those that there are.",
    "no-such-schedule": "No schedule of yours matches.",
    "not-acceptable": "What Accept (or `format`) asks for is not to be had here: `allowed` has "
    "what is.",
    "not-found": "Nothing is at this address. /docs shows what there is.",
    "not-now": "The group is not in a state for that: `detail` says why.",
    "not-permitted": "The gateway's policy, or runnerd's, does not permit it. Who you are here "
    "says /v1/whoami.",
    "precondition-failed": "The job has changed since the ETag of If-Match. Get it again and look "
    "whether you still want that.",
    "quota-exceeded": "Your quota has no room for it: `detail` names the setting that bounds it.",
    "request-timeout": "The body did not come in time.",
    "shutting-down": "runnerd is stopping or being restarted. Try again soon.",
    "slow-reader": "What was sent was not read for too long, and the stream was cut off. Come back "
    "with the cursor of the last record.",
    "store-error": "runnerd cannot use its store: `detail` says why.",
    "too-many-jobs": "Too many jobs wait already. Try again when some have started.",
    "too-many-requests": "More requests than you may have in a second, or at once. Try again after "
    "the time in Retry-After.",
    "unauthenticated": "The certificate does not count now: it was revoked or has expired.",
    "unavailable": "The gateway cannot reach runnerd, or it went away before it had answered. What "
    "was accepted is kept; with an idempotency key a submission may be sent again.",
    "unknown-op": "This runnerd does not know the operation; it may be older than the gateway.",
    "unsupported-media-type": "The body is to be JSON: Content-Type application/json, without a "
    "Content-Encoding.",
    "unsupported-protocol": "runnerd and the gateway are of releases that do not understand each "
    "other.",
}
