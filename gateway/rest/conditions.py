"""If-Match before something is changed: whether the job is as the client saw it last.

It is looked at right before runnerd is asked, which has no such condition of its own: what changes
between the two is not noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.rest import negotiating
from gateway.rest.problems import HttpRefusal
from gateway.rest.sending import shown

if TYPE_CHECKING:
    from gateway.rest.calls import Call

_ENCODER = msgspec.json.Encoder()


def encoded(value: Any) -> bytes:  # noqa: ANN401  any JSON value
    """A JSON value as it is sent."""
    return _ENCODER.encode(shown(value))


def tag_of(job: dict[str, Any]) -> str:
    """The tag of a job: of its state, and behind a dot of the output that is shown with it."""
    state = {name: value for name, value in job.items() if name != "output"}
    tag = negotiating.digest(encoded(state))
    return f"{tag}.{negotiating.digest(encoded(job['output']))}" if "output" in job else tag


async def check_match(call: Call, reference: str) -> None:
    """Nothing without If-Match. Raises HttpRefusal (412) when the job has another tag by now."""
    header = ", ".join(call.request.headers.getall("If-Match", []))
    if not header:
        return
    job = dict(await call.ask("status", {"job": reference}))
    job.pop("usage", None)
    # Whatever part of the output was shown: it is not what is changed.
    known = {tag.partition(".")[0] for tag in negotiating.strong_tags(header)}
    if tag_of(job) not in known and "*" not in known:
        raise HttpRefusal(
            "precondition-failed",
            "the job has changed since; get it again and look whether you still want that",
            headers={"ETag": f'"{tag_of(job)}"'},
        )
