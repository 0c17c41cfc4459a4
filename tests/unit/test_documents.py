"""What the documents say of the code is true, as far as a program can tell."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import pytest

from client import records
from client.cli import VERBS
from client.cli import main as runctl
from client.cli.run import OPTIONS
from client.errors import _PROSE
from client.options import Options
from runner import (
    config,
    message_groups,
    message_limits,
    message_logs,
    message_queue,
    message_sandbox,
    message_schedules,
    messages,
    stored,
)
from runner.launcher_client import _PATHS
from runner.lifecycle import TRANSITIONS, Event, State
from runner.main import main as runnerd
from runner.outcome import REASONS
from runner.scheduling import kinds
from runner.server.handlers import HANDLERS
from runner.server.service import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = re.compile(r"/(\.[^/]+|__pycache__|build|[^/]*\.egg-info)/")
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not NOT_OURS.search(str(path.relative_to(ROOT.parent)))
)
# Written so that this file does not match itself.
REGISTRY = re.compile(r"https?://[^\s)\"']*(?:pypi|pythonhosted|deb\.debian|npmjs)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def page(name: str) -> str:
    """A manual page without its markup of hyphens and fonts."""
    return re.sub(r"\\f[BIR]", "", text(name).replace("\\-", "-"))


def section(document: str, heading: str) -> str:
    """The text from a heading to the next one of any level."""
    _, _, rest = text(document).partition(f"\n{heading}\n")
    assert rest, f"{document} has no {heading}"
    return re.split(r"\n#+ ", rest)[0]


def option_names(command: click.Command) -> set[str]:
    names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    return {name for name in names if name.startswith("-")}


def entries(roff: str) -> set[str]:
    """The options that a page describes: those of the lines after .TP."""
    lines = re.findall(r"^\.TP\n\.B[A-Z]* (.*)$", roff, flags=re.MULTILINE)
    return {name for line in lines for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)}


def verb_command(verb: str) -> click.Command:
    command = runctl.get_command(click.Context(runctl), verb)
    assert command is not None
    return command


def verb_options(verb: str) -> set[str]:
    """The options of a verb and of what stands below it."""
    command = verb_command(verb)
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return option_names(command).union(*map(option_names, below))


# Manual pages


def test_the_page_of_runnerd_has_its_options_and_no_others() -> None:
    options = page("man/runnerd.8").partition(".SH OPTIONS")[2].partition(".SH SIGNALS")[0]
    assert entries(options) == option_names(runnerd) | {"-h", "--help"}


@pytest.mark.parametrize("verb", runnerd.commands)
def test_the_page_of_runnerd_has_the_options_of_its_verbs_and_no_others(verb: str) -> None:
    verbs = page("man/runnerd.8").partition(".SH VERBS")[2].partition(".SH EXIT STATUS")[0]
    (described,) = (
        part for part in verbs.split("\n.SS ")[1:] if part.strip('"').split()[0] == verb
    )
    command = runnerd.get_command(click.Context(runnerd), verb)
    assert command is not None
    assert entries(described) == option_names(command)


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_of_runctl_has_no_option_that_a_verb_lacks(verb: str) -> None:
    verbs = page("man/runctl.1").partition(".SH VERBS")[2].partition(".SH SIZES")[0]
    (described,) = (
        part for part in verbs.split("\n.SS ")[1:] if part.strip('"').split()[0] == verb
    )
    assert entries(described) <= verb_options(verb)


# Commands in the documents


def commands() -> Iterator[tuple[str, str, str]]:
    """(document, verb, the rest up to the job's own command) of each `runctl VERB …`."""
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            for found in re.finditer(r"(?<![\w/])runctl ([a-z]+)([^`|;&]*)", line):
                # Comments, and what comes after the options of `run`.
                rest = re.split(r" -- | #|\) ", found[2])[0]
                if found[1] in VERBS:
                    yield document.name, found[1], rest


def test_every_option_in_a_command_exists() -> None:
    given = list(commands())
    assert len(given) > len(VERBS)
    for document, verb, rest in given:
        options = set(re.findall(r"(?<= )--?[a-z][a-z-]*", rest))
        assert options <= verb_options(verb), (document, verb, rest)


def test_the_readme_shows_every_verb() -> None:
    shown = {verb for document, verb, _ in commands() if document == "README.md"}
    assert shown == set(VERBS)


# The protocol


def refusals() -> set[str]:
    """The first argument of every Refusal that the daemon makes."""
    found = set()
    for path in (ROOT / "runner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Refusal"
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                found.add(node.args[0].value)
    return found


def test_the_protocol_has_every_error_code_that_is_sent_and_no_other() -> None:
    table = section("docs/PROTOCOL.md", "### Errors")
    described = set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE))
    assert described == refusals()


def test_the_client_has_a_sentence_for_every_error_code() -> None:
    # What was given and what is allowed says it all.
    of_a_gateway = {"unauthenticated", "unavailable"}
    assert set(_PROSE) | {"invalid-argument"} == refusals() | of_a_gateway


def test_the_protocol_describes_every_operation_and_no_other() -> None:
    operations = text("docs/PROTOCOL.md").partition("\n## Operations\n")[2]
    assert set(re.findall(r"^### (\w+)$", operations, flags=re.MULTILINE)) == {"hello", *HANDLERS}


@pytest.mark.parametrize(
    ("asked", "kept", "shown"),
    [
        (message_limits.LimitsRequest, stored._Limits, records.Limits),
        (message_limits.IoRequest, stored._Io, records.IoLimit),
    ],
)
def test_a_limit_is_known_wherever_limits_pass(
    asked: type[msgspec.Struct], kept: type[msgspec.Struct], shown: type
) -> None:
    fields = set(asked.__struct_fields__)
    assert fields <= set(kept.__struct_fields__)
    assert fields <= set(shown.__annotations__)
    table = section("docs/PROTOCOL.md", "### submit").partition("\n| limit |")[2]
    assert fields <= set(re.findall(r"`(\w+)`", table))


def test_what_is_asked_of_a_log_is_known_to_client_daemon_and_protocol() -> None:
    fields = set(message_logs.LogsRequest.__struct_fields__)
    # Asked for as a limit, `output_max_bytes`.
    assert {*fields, "keep_bytes"} == set(records.Logs.__annotations__)
    assert {*fields, "keep_bytes"} == set(stored._Logs.__struct_fields__)
    assert fields < set(config.LogsConfig.__struct_fields__)
    described = section("docs/PROTOCOL.md", "### submit").partition("\n| logs |")[2]
    rows = described.partition("\n\n")[0]
    assert fields == set(re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("asked", "shown", "table"),
    [
        (message_sandbox.SandboxRequest, records.Sandbox, "sandbox"),
        (message_sandbox.BindRequest, records.Bind, "sandbox"),
        (message_sandbox.TmpfsRequest, records.Tmpfs, "sandbox"),
        (message_sandbox.SecretRequest, records.Secret, "sandbox"),
        (message_sandbox.NetRequest, records.Net, "net"),
        (message_sandbox.PublishRequest, records.Publish, "net"),
        (message_queue.RetryRequest, records.Retry, "retry"),
        (message_queue.RetryRule, records.RetryRule, "retry"),
        (message_queue.ReserveRequest, records.Reserve, "reserve"),
    ],
)
def test_a_part_of_a_submission_is_known_to_client_and_protocol(
    asked: type[msgspec.Struct], shown: type, table: str
) -> None:
    fields = set(asked.__struct_fields__)
    assert fields == set(shown.__annotations__)
    described = section("docs/PROTOCOL.md", "### submit").partition(f"\n| {table} |")[2]
    assert fields <= set(re.findall(r"`(\w+)`", described.partition("\n\n")[0]))


def test_everything_that_a_submission_may_say_is_known_to_client_and_protocol() -> None:
    fields = set(messages.Submit.__struct_fields__)
    assert fields == {"argv", *typing.get_type_hints(Options)}
    assert fields <= set(re.findall(r"`(\w+)`", section("docs/PROTOCOL.md", "### submit")))


def test_everything_that_a_schedule_may_say_is_in_the_protocol() -> None:
    fields = set(message_schedules.MakeSchedule.__struct_fields__)
    table = section("docs/PROTOCOL.md", "### schedule").partition("\n| field |")[2]
    assert fields == set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))


def test_everything_that_a_group_may_say_is_in_the_protocol() -> None:
    tables = {
        message_groups.ArrayRequest: ("### submit_array", "| array |"),
        message_groups.SubmitFlow: ("### submit_flow", "| field |"),
        message_groups.Step: ("### submit_flow", "| step |"),
    }
    for asked, (heading, table) in tables.items():
        rows = section("docs/PROTOCOL.md", heading).partition(f"\n{table}")[2].partition("\n\n")[0]
        named = set(re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE))
        assert named == set(asked.__struct_fields__)
    assert set(message_groups.Step.__struct_fields__) == set(typing.get_type_hints(records.Step))
    assert set(message_groups.Need.__struct_fields__) == set(typing.get_type_hints(records.Need))


def test_a_selection_is_known_to_client_and_protocol() -> None:
    fields = set(message_queue.Select.__struct_fields__)
    assert fields == set(records.Selection.__annotations__)
    table = section("docs/PROTOCOL.md", "### list").partition("\n| select |")[2]
    assert fields == set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("shown", "heading"),
    [
        (records.Submitted, "### submit"),
        (records.Location, "### locate"),
        (records.StoppedMany, "### stop_many"),
        (records.Moved, "### move"),
        (records.Retried, "### retry"),
        (records.Why, "### why"),
        (records.Queues, "### queues"),
        (records.Queue, "### queues"),
        (records.Capacity, "### queues"),
        (records.Promised, "### queues"),
        (records.OwnUse, "### queues"),
        (records.Quota, "### queues"),
        (records.QueueSetting, "### queue"),
        (records.Stats, "### stats"),
        (records.Histogram, "### stats"),
        (records.StoreStats, "### stats"),
        (records.Scheduled, "### schedule"),
        (records.ScheduleRun, "### schedule_run"),
        (records.SubmittedGroup, "### submit_array"),
        (records.SubmittedGroup, "### submit_flow"),
        (records.StoppedGroup, "### stop_group"),
        (records.ChangedGroup, "### retry_group"),
        (records.FailedMember, "### wait_group"),
        (records.HeldGroup, "### hold_group"),
        (records.UpdatedGroup, "### update_group"),
        (records.ChangedGroup, "### remove_group"),
        (records.GroupEntry, "### list"),
        (records.Event, "### events"),
        (records.EventGap, "### events"),
    ],
)
def test_the_protocol_shows_every_field_of_an_answer(shown: type, heading: str) -> None:
    examples = re.findall(r'"(\w+)":', section("docs/PROTOCOL.md", heading))
    assert set(typing.get_type_hints(shown)) <= set(examples)


def test_the_protocol_has_every_cause_and_the_client_knows_it() -> None:
    rows = section("docs/PROTOCOL.md", "### why").partition("\n| cause |")[2]
    named = re.findall(r"^\| (.*?) \|", rows, flags=re.MULTILINE)
    causes = set(re.findall(r"`([a-z-]+)`", " ".join(named)))
    assert causes == set(typing.get_args(kinds.Cause)) == set(typing.get_args(records.Cause))


def test_the_protocol_has_every_kind_of_event() -> None:
    rows = section("docs/PROTOCOL.md", "### events").partition("\n| kind |")[2]
    named = re.findall(r"^\| (.*?) \|", rows, flags=re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", " ".join(named))) == {
        *(event.value for event in Event), "submit", "update", "remove", "hold", "release", "move",
        "priority", "group-submit", "group-update", "group-ended", "hook",
    }  # fmt: skip


def test_the_protocol_has_every_feature_of_the_greeting() -> None:
    table = section("docs/PROTOCOL.md", "### hello").partition("\n| feature |")[2]
    named = re.findall(r"^\| (.*?) \|", table, flags=re.MULTILINE)
    assert set(re.findall(r"`([\w.-]+)`", " ".join(named))) == set(FEATURES)


def fields_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """The paths of a request's fields, as a refusal names them without indexes."""
    hints = typing.get_type_hints(struct, include_extras=True)
    for name in struct.__struct_fields__:
        inner = next(structs_in(hints[name]), None)
        # A map of its own is named by its fields, an array of maps by itself too.
        if inner is None or inner not in MAPS:
            yield f"{prefix}{name}"
        if inner is not None:
            yield from fields_of(inner, f"{prefix}{name}.")


MAPS = {
    message_limits.LimitsRequest, message_logs.LogsRequest, message_sandbox.SandboxRequest,
    message_sandbox.NetRequest,
}  # fmt: skip


def structs_in(hint: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for part in typing.get_args(hint):
        yield from structs_in(part)


def test_runctl_has_a_word_for_every_field_that_can_be_refused() -> None:
    # The command itself is named by its argument; the umask is the caller's own.
    assert set(fields_of(messages.Submit)) - {"argv", "umask"} <= set(OPTIONS)


def test_runctl_has_no_word_for_a_field_that_does_not_exist() -> None:
    words = {name for name in OPTIONS if not name.startswith("limits.rlimits.")}
    assert words <= set(fields_of(messages.Submit))


@pytest.mark.parametrize(
    ("shown", "heading", "table"),
    [
        (records.JobStatus, "### status", "| field |"),
        (records.JobResult, "### status", "| result |"),
        (records.Usage, "### status", "| field |"),
        (records.Denied, "### status", "| result |"),
        (records.Attempt, "### status", "| field |"),
        (records.Dependency, "### status", "| field |"),
        (records.Promise, "### status", "| field |"),
        (records.Because, "### why", "| because |"),
        (records.GroupCap, "### why", "| because |"),
        (records.GroupSummary, "### group", "| field |"),
        (records.GroupCounts, "### group", "| field |"),
        (records.Schedule, "### schedules", "| field |"),
    ],
)
def test_the_protocol_has_every_field_of_an_answer(shown: type, heading: str, table: str) -> None:
    described = section("docs/PROTOCOL.md", heading).partition(f"\n{table}")[2]
    fields = set(typing.get_type_hints(shown))
    assert fields <= set(re.findall(r"`(\w+)`", described.partition("\n\n")[0]))


def test_the_protocol_names_every_state() -> None:
    (row,) = re.findall(r"^\| `state` .*$", text("docs/PROTOCOL.md"), flags=re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", row)) - {"state"} == {state.value for state in State}
    assert set(typing.get_args(records.State)) == {state.value for state in State}


def test_the_lifecycle_is_the_table_of_the_code() -> None:
    lifecycle = section("ARCHITECTURE.md", "## Lifecycle").partition("An ended job")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+)", lifecycle, flags=re.MULTILINE)
    assert set(rows) - {("state", "event", "next")} == {
        (state.value, event.value, next_.value) for (state, event), next_ in TRANSITIONS.items()
    }


# Reasons


def test_the_client_knows_every_reason() -> None:
    assert set(typing.get_args(records.Reason)) == set(REASONS)


@pytest.mark.parametrize(
    ("document", "heading", "row"),
    [
        ("README.md", "## How a job ended", r"^\| `([a-z-]+)` \|"),
        (
            "ARCHITECTURE.md",
            "## Lifecycle",
            r"^\| ([a-z-]+) \| [^|]+ \| [^|]*\d[^|]* \||^\| (exit) ",
        ),
    ],
)
def test_a_table_of_reasons_has_every_reason_and_no_other(
    document: str, heading: str, row: str
) -> None:
    found = re.findall(row, section(document, heading), flags=re.MULTILINE)
    names = {item if isinstance(item, str) else "".join(item) for item in found}
    assert names == set(REASONS)


def test_the_exit_codes_have_a_section_for_every_reason() -> None:
    headings = set(re.findall(r"^## (\S+)$", text("docs/EXIT-CODES.md"), flags=re.MULTILINE))
    assert headings == set(REASONS)


def test_the_protocol_names_every_reason() -> None:
    (row,) = re.findall(r"^\| `reason` .*$", text("docs/PROTOCOL.md"), flags=re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", row)) - {"reason"} == set(REASONS)


# Architecture


def modules(package: str) -> set[str]:
    return {
        ".".join(path.relative_to(ROOT / package).with_suffix("").parts)
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and not path.stem.endswith("_pb2")
    }


@pytest.mark.parametrize("package", ["runner", "isolation", "gateway"])
def test_the_layers_name_every_module(package: str) -> None:
    layers = section("ARCHITECTURE.md", "## Layers")
    named = set(re.findall(r"[\w.*]+", layers))
    missing = {
        name
        for name in modules(package)
        if name not in named
        and f"{package}.{name}" not in named
        and f"{name.rpartition('.')[0]}.*" not in named
    }
    assert not missing


def test_the_launcher_imports_the_lean_set_and_nothing_else_of_ours() -> None:
    stated = (
        section("ARCHITECTURE.md", "## Layers").partition("**lean set**")[2].partition("It uses")
    )
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import runner.launcher; "
        "print(*(n for n, m in sys.modules.items() if n.startswith(('runner.', 'isolation.'))"
        " and not hasattr(m, '__path__')))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", program, *_PATHS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(re.findall(r"`([\w.]+)`", stated[0])) == set(done.stdout.split())


# All documents


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links() -> Iterator[tuple[Path, str, str]]:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                yield document, path, anchor


def test_every_relative_link_leads_somewhere() -> None:
    found = list(links())
    assert found
    for document, path, anchor in found:
        target = document.parent / path if path else document
        assert target.exists(), f"{document.name}: {path}"
        if anchor:
            lines = target.read_text(encoding="utf-8").splitlines()
            headings = {slug(line.lstrip("# ")) for line in lines if line.startswith("#")}
            assert anchor in headings, f"{document.name}: {path}#{anchor}"


def project_files() -> Iterator[Path]:
    for path in ROOT.rglob("*"):
        inside = f"/{path.relative_to(ROOT)}/"
        if path.is_file() and not NOT_OURS.search(inside.removesuffix("/") or "/"):
            yield path


def test_no_file_names_the_host_of_a_package_registry() -> None:
    for path in project_files():
        if path.stat().st_size < 2**20:
            found = REGISTRY.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, path
