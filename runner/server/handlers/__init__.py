"""One module a verb. Each handler: the service, the peer, its message, its stream → the answer.

A plain function gives the answer, or a coroutine when something has to be waited for first; what is
a coroutine function may take long. A handler is where a verb's authorization is: it finds jobs only
through `Service.find_job`, groups through `find_group`, which know what the peer may see.
"""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

from runner import message_groups, message_queue, message_schedules, messages
from runner.server.handlers.doctor import doctor
from runner.server.handlers.drain import drain
from runner.server.handlers.events import events
from runner.server.handlers.exec import execute
from runner.server.handlers.group import group
from runner.server.handlers.hold import hold
from runner.server.handlers.hold_group import hold_group
from runner.server.handlers.list_jobs import list_jobs
from runner.server.handlers.locate import locate
from runner.server.handlers.logs import logs
from runner.server.handlers.move import move
from runner.server.handlers.pause import pause
from runner.server.handlers.prune import prune
from runner.server.handlers.queue import queue
from runner.server.handlers.queues import queues
from runner.server.handlers.release import release
from runner.server.handlers.remove import remove
from runner.server.handlers.remove_group import remove_group
from runner.server.handlers.resume import resume
from runner.server.handlers.retry import retry
from runner.server.handlers.retry_group import retry_group
from runner.server.handlers.schedule import schedule
from runner.server.handlers.schedule_pause import schedule_pause
from runner.server.handlers.schedule_remove import schedule_remove
from runner.server.handlers.schedule_resume import schedule_resume
from runner.server.handlers.schedule_run import schedule_run
from runner.server.handlers.schedule_status import schedule_status
from runner.server.handlers.schedules import schedules
from runner.server.handlers.stats import stats
from runner.server.handlers.status import status
from runner.server.handlers.stop import stop
from runner.server.handlers.stop_group import stop_group
from runner.server.handlers.stop_many import stop_many
from runner.server.handlers.submit import submit
from runner.server.handlers.submit_array import submit_array
from runner.server.handlers.submit_flow import submit_flow
from runner.server.handlers.update import update
from runner.server.handlers.update_group import update_group
from runner.server.handlers.wait import wait
from runner.server.handlers.wait_group import wait_group
from runner.server.handlers.why import why

if TYPE_CHECKING:
    from runner.message_kinds import Closed

HANDLERS: Final[dict[str, tuple[type[Closed], Any]]] = {
    "doctor": (messages.Doctor, doctor),
    "drain": (messages.Drain, drain),
    "events": (message_queue.Events, events),
    "exec": (messages.Exec, execute),
    "group": (message_groups.GroupStatus, group),
    "hold": (message_queue.Hold, hold),
    "hold_group": (message_groups.HoldGroup, hold_group),
    "list": (messages.List, list_jobs),
    "locate": (messages.Locate, locate),
    "logs": (messages.Logs, logs),
    "move": (message_queue.Move, move),
    "pause": (messages.Pause, pause),
    "prune": (messages.Prune, prune),
    "queue": (message_queue.SetQueue, queue),
    "queues": (message_queue.Queues, queues),
    "release": (message_queue.Release, release),
    "remove": (messages.Remove, remove),
    "remove_group": (message_groups.RemoveGroup, remove_group),
    "resume": (messages.Resume, resume),
    "retry": (message_queue.Retry, retry),
    "retry_group": (message_groups.RetryGroup, retry_group),
    "schedule": (message_schedules.MakeSchedule, schedule),
    "schedule_pause": (message_schedules.SchedulePause, schedule_pause),
    "schedule_remove": (message_schedules.ScheduleRemove, schedule_remove),
    "schedule_resume": (message_schedules.ScheduleResume, schedule_resume),
    "schedule_run": (message_schedules.ScheduleRun, schedule_run),
    "schedule_status": (message_schedules.ScheduleStatus, schedule_status),
    "schedules": (message_schedules.Schedules, schedules),
    "stats": (messages.Stats, stats),
    "status": (messages.Status, status),
    "stop": (messages.Stop, stop),
    "stop_group": (message_groups.StopGroup, stop_group),
    "stop_many": (message_queue.StopMany, stop_many),
    "submit": (messages.Submit, submit),
    "submit_array": (message_groups.SubmitArray, submit_array),
    "submit_flow": (message_groups.SubmitFlow, submit_flow),
    "update": (messages.Update, update),
    "update_group": (message_groups.UpdateGroup, update_group),
    "wait": (messages.Wait, wait),
    "wait_group": (message_groups.WaitGroup, wait_group),
    "why": (message_queue.Why, why),
}
# Those that are asked as soon as the request has come, without a task.
QUICK: Final = frozenset(
    handler for _, handler in HANDLERS.values() if not iscoroutinefunction(handler)
)
