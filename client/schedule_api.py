"""What a client asks about schedules: make, list, show, pause, resume, run and remove them.

A part of `client.api.Client`, which has the rest of the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from client.requesting import Requesting, text_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from client import protocol
    from client.options import Options, Text
    from client.schedule_records import (
        Missed,
        Overlap,
        Schedule,
        Scheduled,
        ScheduleRun,
        ScheduleStatus,
    )


class ScheduleRequests(Requesting):
    """The operations on schedules. Raises what `client.api.Client` raises."""

    def make_schedule(
        self,
        every: str,
        argv: Sequence[Text],
        *,
        zone: str | None = None,
        missed: Missed = "once",
        overlap: Overlap = "allow",
        schedule_name: str | None = None,
        paused: bool = False,
        **options: Unpack[Options],
    ) -> Scheduled:
        """Submit a job again and again; it is on the daemon's disk when this returns.

        `every` is five fields of crontab(5), "@daily" and its like, or "@every 10m"; `zone` a time
        zone, None: the daemon's. `missed` says what becomes of times that pass while nothing can be
        run, `overlap` what becomes of one at which the run before has not ended. The options are
        those of `submit`, but for those that name a time, a job or a key.
        """
        args: protocol.Message = {
            "every": every, "missed": missed, "overlap": overlap, "paused": paused,
            "submit": self._submission(argv, **options),
        }  # fmt: skip
        args |= {
            key: value
            for key, value in (("zone", zone), ("name", schedule_name))
            if value is not None
        }
        return self._scheduled("schedule", args)

    def schedules(self, *, page: int = 100) -> Iterator[Schedule]:
        """Schedules that we may see, the oldest first; asks for `page` (1 to 1,000) at a time."""
        return self._paged("schedules", {"after": 0, "limit": page}, "after", "schedules")

    def schedule(self, schedule: str) -> ScheduleStatus:
        """A schedule by id, prefix of an id (4 characters or more) or name."""
        answer = self._request("schedule_status", {"schedule": schedule})
        text_in(answer, "schedule")
        return cast("ScheduleStatus", answer)

    def pause_schedule(self, schedule: str) -> Scheduled:
        """Run it no more until it is resumed; what is due meanwhile counts as not missed."""
        return self._scheduled("schedule_pause", {"schedule": schedule})

    def resume_schedule(self, schedule: str) -> Scheduled:
        """Let a paused schedule go on, from now."""
        return self._scheduled("schedule_resume", {"schedule": schedule})

    def run_schedule(self, schedule: str) -> ScheduleRun:
        """Run it once now, whatever its times are, also while it is paused."""
        answer = self._request("schedule_run", {"schedule": schedule})
        text_in(answer, "job")
        return cast("ScheduleRun", answer)

    def remove_schedule(self, schedule: str) -> str:
        """Forget a schedule; its jobs stay. Returns its full id."""
        return text_in(self._request("schedule_remove", {"schedule": schedule}), "schedule")

    def _scheduled(self, op: str, args: protocol.Message) -> Scheduled:
        answer = self._request(op, args)
        text_in(answer, "schedule")
        return cast("Scheduled", answer)
