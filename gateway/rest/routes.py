"""The table of all routes, from which the application and the OpenAPI document are made."""

from __future__ import annotations

from typing import Final

from gateway.rest import documents, groups, happenings, host, jobs, logs, schedules

ROUTES: Final = (
    *jobs.ROUTES,
    *logs.ROUTES,
    *happenings.ROUTES,
    *groups.ROUTES,
    *schedules.ROUTES,
    *host.ROUTES,
    *documents.ROUTES,
)
