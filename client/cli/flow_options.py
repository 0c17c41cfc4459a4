"""A step of a flow file read as `runctl run` reads its options: a key is an option's name.

There is no second table of options: what a step says becomes the arguments of `client.cli.run`,
which makes a submission of them. How the steps hang together is `client.flow_steps`'.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from client.cli import run
from client.cli.targets import is_elsewhere
from client.elsewhere import build_submission_elsewhere
from client.errors import RequestRefused, describe
from client.flow_file import FlowFileError, shown
from client.submission import build_submission

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from client.flow_steps import Flow, FlowJob
    from client.group_records import Step
    from client.options import Text

_FOLLOW: Final = "a flow is followed as a whole, with `runctl flow run -f`"
_WHOLE: Final = "it is the whole flow's, and stands before the steps"
_SCHEDULE: Final = "a step is not a schedule; `runctl run --every` can run `runctl flow run`"
# Options of `run` that a step cannot have, and why.
_NOT_OF_A_STEP: Final[Mapping[str, str]] = {
    "detach": _FOLLOW,
    "json": _FOLLOW,
    "name": "a job is called as its step, [steps.NAME]",
    "key": _WHOLE,
    "hook": _WHOLE,
    "hook-net": _WHOLE,
    "array": "a step with a matrix is as many jobs",
    "every": _SCHEDULE,
    "zone": _SCHEDULE,
    "missed": _SCHEDULE,
    "overlap": _SCHEDULE,
}


_OPTION: Final = re.compile(r"(?<![\w'\"-])--([a-z][a-z-]*)")


class Made(NamedTuple):
    """A flow as `Client.submit_flow` takes it; `words` of each step are those for its fields."""

    steps: list[Step]
    env: dict[Text, Text]
    options: dict[str, Any]
    words: list[dict[str, str]]


class _Asked(NamedTuple):
    """The options of a step as arguments of `build_submission`, and the words for its fields."""

    arguments: dict[str, Any]
    words: dict[str, str]


def made(flow: Flow, where: str) -> Made:
    """What a flow submits. Raises FlowFileError, naming `where`, the step and the option."""
    options = _of_flow(flow, where)
    submissions, words = [], []
    build = build_submission_elsewhere if is_elsewhere() else build_submission
    known: dict[str, _Asked] = {}
    for job in flow.jobs:
        place = f"{where}: step {job.name}"
        # Of a matrix often only the command has a value of it.
        said = repr(job.options)
        if said not in known:
            known[said] = _asked(job, place)
        asked = known[said]
        words.append(asked.words)
        try:
            submissions.append(build(**{**asked.arguments, "argv": list(job.command)}))
        except RequestRefused as error:
            raise FlowFileError(place, describe(error, asked.words)) from None
    env = _in_common([submission["env"] for submission in submissions])
    for submission in submissions:
        own: dict[Text, Text] = submission["env"]
        submission["env"] = {name: value for name, value in own.items() if name not in env}
    steps = [_step(job, submit) for job, submit in zip(flow.jobs, submissions, strict=True)]
    return Made(steps, env, options, words)


def _asked(job: FlowJob, place: str) -> _Asked:
    typed = _typed(_arguments(job, place), place)
    options = {field: key_of(word) for field, word in run.words(typed).items()}
    try:
        return _Asked(run.arguments(typed), {**options, "argv": "command"})
    except click.UsageError as error:
        raise FlowFileError(place, _in_keys(error.format_message())) from None


def key_of(option: str) -> str:
    """An option of the command line as a key of a file: "retry_on" of "--retry-on"."""
    return option.removeprefix("--").replace("-", "_")


def _in_keys(text: str) -> str:
    """A refusal of the command line, with the keys of a file; what was given stands in quotes."""
    known = _options()
    return _OPTION.sub(lambda found: key_of(found[0]) if found[1] in known else found[0], text)


def _step(job: FlowJob, submit: dict[str, Any]) -> Step:
    needs: list[Any] = [need._asdict() for need in job.needs]
    return {"name": job.name, "submit": submit, "needs": needs, "values": job.values}


def _in_common(environments: Sequence[Mapping[Text, Text]]) -> dict[Text, Text]:
    """What all have, with the same value: sent once, and none gets what it does not have."""
    common = set(environments[0].items())
    for environment in environments[1:]:
        common &= environment.items()
    return dict(common)


def _of_flow(flow: Flow, where: str) -> dict[str, Any]:
    """Key and hooks, read as `run` reads them."""
    known = _options()
    said: list[str] = []
    for key, value in flow.options.items():
        said += _said(key, known[key], value, f"{where}: {key_of(key)}")
    try:
        asked = run.arguments(_typed([*said, "--", "true"], where))
    except click.UsageError as error:
        raise FlowFileError(where, _in_keys(error.format_message())) from None
    return {
        "max_running": flow.max_running,
        "hooks": asked.get("hooks"),
        "key": asked.get("idempotency_key"),
    }


# A step as arguments


def _arguments(job: FlowJob, place: str) -> list[str]:
    known = _options()
    said: list[str] = []
    for key, value in job.options.items():
        if reason := _NOT_OF_A_STEP.get(key):
            raise FlowFileError(place, f"{key} is no option of a step; {reason}")
        if key not in known:
            raise FlowFileError(
                place, f"{shown(key)} is not known; command, needs, matrix and the options of "
                "`runctl run` are allowed, without their dashes",
            )  # fmt: skip
        said += _said(key, known[key], value, f"{place}: {key_of(key)}")
    return [*said, "--", *job.command]


def _options() -> dict[str, click.Option]:
    """The options of `run` by their long names, without dashes."""
    return {
        name.removeprefix("--"): param
        for param in run.command.params
        if isinstance(param, click.Option)
        for name in param.opts
        if name.startswith("--")
    }


def _said(key: str, option: click.Option, value: object, where: str) -> Iterator[str]:
    """The option as often as it is to be given."""
    if option.is_flag:
        if value not in ("true", "false"):
            raise FlowFileError(where, f"{shown(value)} given; true or false is allowed")
        return iter([f"--{key}"] if value == "true" else [])
    return (f"--{key}={text}" for text in _values(option, value, where))


def _values(option: click.Option, value: object, where: str) -> list[str]:
    metavar = str(option.metavar)
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        if option.multiple:
            return value
        if "[," in metavar:
            return [",".join(value)]
    if isinstance(value, dict) and option.multiple and metavar.startswith("NAME"):
        return [_pair(name, item, where) for name, item in value.items()]
    raise FlowFileError(where, f"{shown(value)} given; {_allowed(option, metavar)} is allowed")


def _pair(name: str, value: object, where: str) -> str:
    if not name or "=" in name:
        raise FlowFileError(where, f"{shown(name)} given; a name without '=' is allowed")
    if not isinstance(value, str):
        raise FlowFileError(where, f"{name}: {shown(value)} given; a text is allowed")
    return f"{name}={value}"


def _allowed(option: click.Option, metavar: str) -> str:
    if not option.multiple:
        return metavar
    return f"{metavar}, a list of them" + (" or a table" * metavar.startswith("NAME"))


def _typed(arguments: list[str], where: str) -> dict[str, Any]:
    """What click makes of them: the values of the options by their names."""
    try:
        context = run.command.make_context("run", arguments)
    except click.BadParameter as error:
        option = error.param
        is_option = isinstance(option, click.Option)
        word = f"{key_of(max(option.opts, key=len))}: " if option and is_option else ""
        raise FlowFileError(where, f"{word}{_in_keys(error.message)}") from None
    except click.UsageError as error:
        raise FlowFileError(where, _in_keys(error.format_message())) from None
    return context.params
