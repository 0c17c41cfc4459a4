"""A flow file's tables made into the jobs of a flow: matrices spread out, needs resolved. Pure.

An option of a step is a name and what was written; what it means is the command line's to say
(`client.cli.flow_options`), which has the options of `run`. That steps need each other in a circle
is found here first, with the file's words; the daemon does not rely on it.
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, NamedTuple, cast

from client import protocol
from client.flow_file import Data, FlowFileError, shown
from client.flow_matrix import Matrix, filled

MOST_JOBS: Final = 1000
MOST_NEEDS: Final = 10_000
MOST_NEEDS_OF_ONE: Final = 256
MOST_STEP_CHARS: Final = 48
_STEP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NAME: Final = re.compile(protocol.NAME_PATTERN)
_ONS: Final = ("ok", "any", "fail", "started")
_TOP: Final = ("name", "max-running", "key", "hook", "hook-net", "defaults", "steps")
# Options of `run` that are the whole flow's.
OF_FLOW: Final[tuple[str, ...]] = ("key", "hook", "hook-net")
# Of a step itself; everything else is an option of `run`.
_OWN: Final = ("command", "needs", "matrix")
_NEED_ALLOWED: Final = "STEP, STEP:ok, STEP:any, STEP:fail or STEP:started is allowed"


class Need(NamedTuple):
    """A job of the flow, by name, and what has to have become of it."""

    step: str
    on: str


class FlowJob(NamedTuple):
    """A job as the file says it: `name` is its step's, or of a matrix "STEP.1" with its `values`.

    An option, by its name with dashes, is text, or a list or a table of texts.
    """

    name: str
    step: str
    values: dict[str, str]
    command: list[str]
    options: dict[str, Any]
    needs: list[Need]


class Flow(NamedTuple):
    """What a file says; `options` are those of the whole flow, as those of a job."""

    name: str
    max_running: int | None
    options: dict[str, Any]
    jobs: list[FlowJob]


def plan(data: Data, where: str, default_name: str | None) -> Flow:
    """The flow that a file's tables describe. Raises FlowFileError, naming `where`."""
    top = _dashed(data, where)
    for key in top:
        if key not in _TOP:
            known = ", ".join(_TOP).replace("-", "_")
            raise FlowFileError(where, f"{shown(key)} is not known; {known} are allowed")
    jobs = _Steps(top, where).jobs()
    name = _name(top.get("name", default_name), where)
    longest = max((job.name for job in jobs), key=len)
    if len(name) + 1 + len(longest) > protocol.MAX_NAME_CHARS:
        both = f"its jobs are called {name}.STEP, at most {protocol.MAX_NAME_CHARS} characters"
        raise FlowFileError(where, f"name: {shown(name)} is too long with step {longest}: {both}")
    options = {key: top[key] for key in OF_FLOW if key in top}
    return Flow(name, _max_running(top, where), options, jobs)


class _Steps:
    """The steps of a file, with the defaults under them."""

    def __init__(self, top: Data, where: str) -> None:
        self._where = where
        self._defaults = _dashed(_table(top.get("defaults", {}), f"{where}: defaults"), where)
        for key in _OWN:
            if key in self._defaults:
                raise FlowFileError(f"{where}: defaults", f"{key} stands in a step")
        steps = _table(top.get("steps", {}), f"{where}: steps")
        if not steps:
            raise FlowFileError(where, "no steps; a table [steps.NAME] with a command is needed")
        self._steps = {name: self._step(name, step) for name, step in steps.items()}
        self._names: dict[str, list[str]] = {}
        self._needed = 0

    def jobs(self) -> list[FlowJob]:
        """All of them, in the order of the file."""
        combinations = self._combinations()
        for name, several in combinations.items():
            numbered = "matrix" in self._steps[name]
            self._names[name] = [
                f"{name}.{number}" if numbered else name for number in range(1, len(several) + 1)
            ]
        jobs = [
            self._job(name, job_name, values)
            for name, several in combinations.items()
            for job_name, values in zip(self._names[name], several, strict=True)
        ]
        if circle := _circle(jobs):
            pairs = zip(circle, [*circle[1:], circle[0]], strict=True)
            words = ", ".join(f"{one} needs {other}" for one, other in pairs)
            raise FlowFileError(self._where, f"steps need each other in a circle: {words}")
        return jobs

    def _combinations(self) -> dict[str, list[dict[str, str]]]:
        matrices = {
            name: Matrix(step["matrix"], self._place(name))
            for name, step in self._steps.items()
            if "matrix" in step
        }
        count = sum(matrices[name].size if name in matrices else 1 for name in self._steps)
        if count > MOST_JOBS:
            text = f"{count} jobs, each combination of a matrix counted"
            raise FlowFileError(self._where, f"{text}; at most {MOST_JOBS} are allowed")
        return {
            name: matrices[name].combinations() if name in matrices else [{}]
            for name in self._steps
        }

    def _job(self, step: str, name: str, values: dict[str, str]) -> FlowJob:
        where = self._place(step)
        if len(name) > MOST_STEP_CHARS:
            raise FlowFileError(
                where, f"its name has {len(name)} characters; at most 48 are allowed"
            )
        said = {
            key: filled(value, values, f"{where}: {key}")
            for key, value in self._steps[step].items()
            if key != "matrix"
        }
        options = {key: value for key, value in said.items() if key not in _OWN}
        needs = self._needs(name, said.get("needs", []), f"{where}: needs")
        return FlowJob(name, step, values, _command(said.get("command"), where), options, needs)

    def _step(self, name: str, step: object) -> Data:
        where = self._place(name)
        if not _STEP.fullmatch(name) or len(name) > MOST_STEP_CHARS:
            allowed = (
                "at most 48 letters, digits, '_' and '-' are allowed, the first a letter or digit"
            )
            raise FlowFileError(self._where, f"step {shown(name)}: {allowed}")
        own = _dashed(_table(step, where), where)
        merged = {**self._defaults, **own}
        for key, value in self._defaults.items():
            if isinstance(value, dict) and isinstance(own.get(key), dict):
                merged[key] = {**value, **own[key]}
        return merged

    def _needs(self, name: str, data: object, where: str) -> list[Need]:
        needs: dict[str, Need] = {}
        for text in _texts(data, where):
            wanted, colon, on = text.partition(":")
            if not wanted or (colon and on not in _ONS):
                raise FlowFileError(where, f"{shown(text)} given; {_NEED_ALLOWED}")
            for job in self._meant(wanted, where):
                if job == name:
                    raise FlowFileError(where, f"{shown(text)} given; a job cannot need itself")
                if job in needs:
                    raise FlowFileError(where, f"{shown(text)} given; {job} is needed twice")
                needs[job] = Need(job, on or "ok")
        return self._bounded(list(needs.values()), where)

    def _meant(self, wanted: str, where: str) -> list[str]:
        """The jobs of a step, or the one of a matrix that was named."""
        if wanted in self._names:
            return self._names[wanted]
        if wanted in self._names.get(wanted.rpartition(".")[0], []):
            return [wanted]
        raise FlowFileError(where, f"{shown(wanted)} given; there is no such step")

    def _bounded(self, needs: list[Need], where: str) -> list[Need]:
        """Raises FlowFileError for too many: of one job, or of all so far."""
        self._needed += len(needs)
        advice = "put a step in between that needs some of them, and need that one"
        if len(needs) > MOST_NEEDS_OF_ONE:
            text = f"{len(needs)} jobs are needed; at most {MOST_NEEDS_OF_ONE} are allowed"
            raise FlowFileError(where, f"{text}; {advice}")
        if self._needed > MOST_NEEDS:
            text = f"more than {MOST_NEEDS} needs in the whole file, matrices spread out"
            raise FlowFileError(where, f"{text}; {advice}")
        return needs

    def _place(self, step: str) -> str:
        return f"{self._where}: step {step}"


def _circle(jobs: list[FlowJob]) -> list[str]:
    """The names of some jobs of which each needs the next and the last the first; [] of none."""
    graph = TopologicalSorter({job.name: [need.step for need in job.needs] for job in jobs})
    try:
        graph.prepare()
    except CycleError as error:
        # Each is needed by the next one; the last is the first.
        found: list[str] = error.args[1]
        return found[:0:-1]
    return []


# What stands in a table


def _table(value: object, where: str) -> Data:
    if not isinstance(value, dict):
        raise FlowFileError(where, f"{shown(value)} given; a table is allowed")
    return value


def _dashed(table: Data, where: str) -> Data:
    """Its keys with dashes, however they were written."""
    dashed: Data = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name in dashed:
            raise FlowFileError(where, f"{shown(key)} given twice, with '_' and with '-'")
        dashed[name] = value
    return dashed


def _texts(value: object, where: str) -> list[str]:
    """A list of texts; one text is a list of one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise FlowFileError(where, f"{shown(value)} given; a text or a list of texts is allowed")
    return cast("list[str]", texts)


def _name(value: object, where: str) -> str:
    if value is None:
        raise FlowFileError(where, "name: not given; what is read from a pipe needs one")
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        allowed = "letters, digits, '.', '_' and '-' are allowed, the first a letter or digit"
        raise FlowFileError(where, f"name: {shown(value)} given; {allowed}")
    return value


def _max_running(top: Data, where: str) -> int | None:
    value = top.get("max-running")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"0*[1-9][0-9]{0,8}", value):
        raise FlowFileError(
            where, f"max_running: {shown(value)} given; a number from 1 on is allowed"
        )
    return int(value)


def _command(value: object, where: str) -> list[str]:
    """The arguments; one text is for a shell."""
    if value is None:
        raise FlowFileError(where, 'command: not given; a list is needed, as ["make", "-j4"]')
    if value in ("", []):
        raise FlowFileError(where, "command: nothing given; a list or a text is needed")
    if isinstance(value, str):
        return ["/bin/sh", "-c", value]
    return _texts(value, f"{where}: command")
