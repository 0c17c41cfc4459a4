"""The routes of the host and of the gateway itself: queues, upkeep, who one is, health, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from client.errors import ClientError
from gateway.codes import as_refusal
from gateway.rest import answers_more, queries, sending
from gateway.rest.calls import Answer, Call, Reply, Route

if TYPE_CHECKING:
    from client.protocol import Message

_TEXT: Final = "Prometheus' text format."


async def queues(call: Call) -> Reply:
    """Every queue, the capacity and the quota."""
    return Reply(await call.ask("queues", {}))


async def set_queue(call: Call) -> Reply:
    """Change a queue."""
    changes = sending.fields_of(call.body(queries.QueueChange), nulls=True)
    return Reply(await call.ask("queue", {"name": call.path("queue"), **changes}))


async def prune(call: Call) -> Reply:
    """Remove ended jobs."""
    args = sending.fields_of(call.body(queries.Prune))
    return Reply(await call.ask("prune", args, timeout=None))


async def drain(call: Call) -> Reply:
    """Take no more jobs, or take them again."""
    asked = call.body(queries.Drain)
    args: Message = {"cancel": True} if asked.cancel else sending.fields_of(asked)
    return Reply(await call.ask("drain", args, timeout=asked.timeout_seconds + 60))


async def doctor(call: Call) -> Reply:
    """What the host can enforce."""
    return Reply(await call.ask("doctor", {}))


async def whoami(call: Call) -> Reply:
    """Whom the certificate stands for."""
    return Reply(call.session.identity())


async def health(call: Call) -> Reply:
    """Whether runnerd can be reached, and the audit log written."""
    try:
        await call.services.greeting()
    except (ClientError, TimeoutError) as error:
        detail = as_refusal(error).detail
        body = {"status": "unavailable", "detail": detail}
        return Reply(body, 503, {"Retry-After": "2", "Cache-Control": "no-store"})
    return Reply({"status": "ok", "detail": None}, headers={"Cache-Control": "no-store"})


async def metrics(call: Call) -> Reply:
    """Everything that is counted, of all users: for whoever may ask for `stats`."""
    await call.session.permit("stats")
    page = await call.services.metrics.page(call.request.headers.get("Accept", ""))
    return Reply(page.body, media=page.content_type)


ROUTES: Final = (
    Route(
        method="GET", path="/queues", name="listQueues", op="queues", tag="host",
        about="The queues, what waits and runs, the capacity and the quota",
        handler=queues, answers={200: Answer("The queues.", answers_more.Queues)},
    ),
    Route(
        method="PATCH", path="/queues/{queue}", name="setQueue", op="queue", tag="host",
        about="Pause a queue, or bound how many of its jobs run at once; for admins",
        handler=set_queue, body=queries.QueueChange, problems=("no-such-queue",),
        answers={200: Answer("What it is set to now.", answers_more.QueueSetting)},
    ),
    Route(
        method="POST", path="/prune", name="prune", op="prune", tag="host",
        about="Remove ended jobs with their output; for admins",
        handler=prune, body=queries.Prune,
        answers={200: Answer("How many.", answers_more.Pruned)},
    ),
    Route(
        method="POST", path="/drain", name="drain", op="drain", tag="host",
        about="Take and start no more jobs, or take them again; for admins",
        handler=drain, body=queries.Drain,
        answers={200: Answer("How it stands.", answers_more.Drained)},
    ),
    Route(
        method="GET", path="/doctor", name="doctor", op="doctor", tag="host",
        about="What the host can enforce, and what is wrong",
        handler=doctor, answers={200: Answer("The findings.", answers_more.Doctor)},
    ),
    Route(
        method="GET", path="/whoami", name="whoAmI", op=None, tag="gateway",
        about="Whom the certificate stands for here, and what that may do",
        handler=whoami, answers={200: Answer("The identity.", answers_more.WhoAmI)},
    ),
    Route(
        method="GET", path="/healthz", name="health", tag="gateway", is_only_plain=True,
        about="Whether the gateway reaches runnerd, and can write its audit log",
        handler=health, op=None,
        answers={
            200: Answer("It does.", answers_more.Health),
            503: Answer("It does not.", answers_more.Health),
        },
    ),
    Route(
        method="GET", path="/metrics", name="metrics", op="stats",
        tag="gateway", is_only_plain=True,
        about="Metrics in Prometheus' text format, for whoever may ask for `stats`",
        handler=metrics,
        answers={200: Answer("The metrics.", None,
            {"text/plain": _TEXT, "application/openmetrics-text": "OpenMetrics."},
        )},
    ),
)  # fmt: skip
