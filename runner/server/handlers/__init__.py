"""One module a verb. Each handler: the service, the peer, its message, its stream → the answer.

A handler is where a verb's authorization is: it finds jobs only through `Service.find_job`,
which knows what the peer may see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner import messages
from runner.server.handlers.doctor import doctor
from runner.server.handlers.drain import drain
from runner.server.handlers.exec import execute
from runner.server.handlers.list_jobs import list_jobs
from runner.server.handlers.locate import locate
from runner.server.handlers.logs import logs
from runner.server.handlers.pause import pause
from runner.server.handlers.prune import prune
from runner.server.handlers.remove import remove
from runner.server.handlers.resume import resume
from runner.server.handlers.status import status
from runner.server.handlers.stop import stop
from runner.server.handlers.submit import submit
from runner.server.handlers.update import update
from runner.server.handlers.wait import wait

if TYPE_CHECKING:
    from runner.message_kinds import Closed

HANDLERS: Final[dict[str, tuple[type[Closed], Any]]] = {
    "doctor": (messages.Doctor, doctor),
    "drain": (messages.Drain, drain),
    "exec": (messages.Exec, execute),
    "list": (messages.List, list_jobs),
    "locate": (messages.Locate, locate),
    "logs": (messages.Logs, logs),
    "pause": (messages.Pause, pause),
    "prune": (messages.Prune, prune),
    "remove": (messages.Remove, remove),
    "resume": (messages.Resume, resume),
    "status": (messages.Status, status),
    "stop": (messages.Stop, stop),
    "submit": (messages.Submit, submit),
    "update": (messages.Update, update),
    "wait": (messages.Wait, wait),
}
