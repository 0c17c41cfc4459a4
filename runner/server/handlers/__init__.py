"""One module a verb. Each handler: the service, the peer, its message, its stream → the answer.

A handler is where a verb's authorization is: it finds jobs only through `Service.find_job`,
which knows what the peer may see.
"""

from __future__ import annotations

from typing import Any, Final

from runner import messages
from runner.message_kinds import Closed
from runner.server.handlers.doctor import doctor
from runner.server.handlers.list_jobs import list_jobs
from runner.server.handlers.logs import logs
from runner.server.handlers.remove import remove
from runner.server.handlers.status import status
from runner.server.handlers.stop import stop
from runner.server.handlers.submit import submit
from runner.server.handlers.wait import wait

HANDLERS: Final[dict[str, tuple[type[Closed], Any]]] = {
    "doctor": (messages.Doctor, doctor),
    "list": (messages.List, list_jobs),
    "logs": (messages.Logs, logs),
    "remove": (messages.Remove, remove),
    "status": (messages.Status, status),
    "stop": (messages.Stop, stop),
    "submit": (messages.Submit, submit),
    "wait": (messages.Wait, wait),
}
