"""From fork to exec: a step that fails is named, and half a set-up never executes anything.

The privileged steps themselves are tested in tests/kernel; here the table of steps is run
as far as an ordinary user, or a wrong descriptor, lets it go.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isolation import payload
from isolation.payload import EXEC_STEP, EXECUTING, SetupFailure, parse_report

ROOT = Path(__file__).parents[3]

# Forks a child that runs `execute`, and prints its report and its exit code. What {before} says is
# done in the child, {after} in its parent.
PROGRAM = """
import encodings.ascii, os, signal, sys
from isolation import payload, syscalls
from isolation.payload import Command, Setup, Streams
def command(*argv, env=None, cwd=b"/"):
    argv = [os.fsencode(argument) for argument in argv]
    return Command(argv, env or {{}}, cwd, 0o022, os.getuid(), os.getgid(), ())
read, write = os.pipe2(os.O_CLOEXEC)
null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
output_read, output = os.pipe2(os.O_CLOEXEC)
args = [os.fsencode(a) for a in sys.argv[1:]]
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    streams, network, job = Streams(null, output, output, write), None, command("true")
    sandbox = dict(filesystem="host", hostname="job", capabilities=[], devices=[])
    {before}
    setup = Setup(network, None, None, None, sandbox, None, {{}}, {{}}, None)
    payload.execute(job, streams, setup)
    os.write(write, b"execute has returned")
os.close(write)
os.close(output)
report = b""
while data := os.read(read, 4096):
    report += data
text = b""
while data := os.read(output_read, 4096):
    text += data
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(code, "=" + report.hex(), "=" + text.hex())
"""
# As if every privileged step had been taken.
NO_STEPS = (
    "payload._steps = lambda command, streams, setup: "
    "[('announce', lambda: os.write(streams.status, payload.EXECUTING))]; "
)
DROP = """
    if os.geteuid() == 0:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        syscalls.set_dumpable(dumpable=True)"""


def play(before: str, *args: str | bytes) -> tuple[int, bytes, bytes]:
    """(exit code, report, output)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), *args],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30,
    )  # fmt: skip
    code, report, output = done.stdout.split()
    return int(code), bytes.fromhex(report[1:]), bytes.fromhex(output[1:])


def failure(before: str, *args: str | bytes) -> SetupFailure:
    code, report, output = play(before, *args)
    assert code == 125
    assert output == b""
    found = parse_report(report)
    assert found is not None
    return found


# What fails in the set-up


def test_a_descriptor_that_is_not_there_is_the_first_step_to_fail() -> None:
    found = failure("streams = Streams(999, output, output, write)")
    assert found == SetupFailure("arrange the descriptors", errno.EBADF, "Bad file descriptor")


def test_what_is_no_network_cannot_be_entered() -> None:
    found = failure("network = null")
    assert (found.step, found.errno) == ("enter the network", errno.EINVAL)


def test_without_privilege_the_first_privileged_step_fails_and_nothing_is_executed() -> None:
    found = failure(DROP)
    assert found == SetupFailure("enter the namespaces", errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("lambda: 1 / 0", "ZeroDivisionError: division by zero"),
        ("sys.exit", "SystemExit: "),
        ("lambda: (_ for _ in ()).throw(KeyboardInterrupt)", "KeyboardInterrupt: "),
        ("lambda: (_ for _ in ()).throw(OSError('no number'))", "OSError: no number"),
        ("lambda: (_ for _ in ()).throw(MemoryError)", "MemoryError: "),
    ],
)
def test_a_defect_in_a_step_is_reported_as_one_and_never_as_success(action: str, text: str) -> None:
    before = (
        f"payload._steps = lambda *_: [('fine', int), ('broken', {action}), ('never', os.abort)]"
    )
    assert failure(before) == SetupFailure("broken", 0, text)


def test_a_defect_in_making_the_table_is_reported_too() -> None:
    found = failure("payload._steps = None")
    assert found.errno == 0
    assert "TypeError" in found.text


def test_a_failing_call_is_reported_with_the_file_it_failed_on() -> None:
    before = "payload._steps = lambda *_: [('look', lambda: os.stat('/no/such'))]"
    assert failure(before) == SetupFailure(
        "look", errno.ENOENT, "/no/such: No such file or directory"
    )


def test_a_long_reason_is_cut_and_still_a_report() -> None:
    before = "payload._steps = lambda *_: [('look', lambda: os.stat('x' * 100000))]"
    found = failure(before)
    assert (found.step, found.errno) == ("look", errno.ENAMETOOLONG)
    assert len(found.text) <= 1024


def test_a_child_that_is_killed_in_its_set_up_did_not_start() -> None:
    kill = "lambda: os.kill(os.getpid(), signal.SIGKILL)"
    code, report, _ = play(f"payload._steps = lambda *_: [('killed', {kill})]")
    assert (code, report) == (-9, b"")
    assert parse_report(report) == SetupFailure("start", 0, "it was killed before it could start")


# The exec


def executable(path: Path, content: str, mode: int = 0o755) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_when_the_command_runs_the_report_says_so_and_nothing_else() -> None:
    code, report, output = play(
        NO_STEPS + "job = command(*sys.argv[1:])", "/bin/sh", "-c", "echo x; exit 7"
    )
    assert (code, report, output) == (7, EXECUTING, b"x\n")
    assert parse_report(report) is None


def test_the_command_gets_its_own_environment_and_arguments_byte_for_byte() -> None:
    before = (
        NO_STEPS + "job = command(*sys.argv[1:], env={b'PATH': b'/bin:/usr/bin', b'X': b'\\xff'})"
    )
    _, _, output = play(
        before, "sh", "-c", 'printf "%s|" "$X" "$@"; env', "zero", b"\xfe", "a b", ""
    )
    assert output.startswith(b"\xff|\xfe|a b||")
    assert b"HOME" not in output


def exec_failure(before: str, *args: str | bytes) -> SetupFailure:
    found = failure(NO_STEPS + before, *args)
    assert found.step == EXEC_STEP
    return found


def test_a_command_that_is_not_there_is_not_found_by_its_path() -> None:
    assert exec_failure("job = command('/no/such')") == SetupFailure(
        EXEC_STEP, errno.ENOENT, "/no/such: No such file or directory"
    )


def test_a_command_that_is_in_no_directory_of_the_jobs_own_path_is_not_found() -> None:
    found = exec_failure("job = command('sh', env={b'PATH': b'/nowhere:/etc/passwd'})")
    assert found == SetupFailure(EXEC_STEP, errno.ENOENT, "sh: not found in PATH")


def test_without_a_path_the_usual_directories_are_searched() -> None:
    code, _, output = play(NO_STEPS + "job = command('sh', '-c', 'echo found')")
    assert (code, output) == (0, b"found\n")


def test_what_may_not_be_executed_is_said_to_be_there(tmp_path: Path) -> None:
    path = executable(tmp_path / "script", "#!/bin/sh\n", 0o644)
    found = exec_failure("job = command(*args)", str(path))
    assert (found.errno, found.text) == (errno.EACCES, f"{path}: Permission denied")
    found = exec_failure(
        "job = command('script', env={b'PATH': b'/nowhere:' + args[0]})", str(tmp_path)
    )
    assert (found.errno, found.text) == (errno.EACCES, f"{path}: Permission denied")


def test_a_later_directory_is_searched_when_an_earlier_one_may_not_be_executed_from(
    tmp_path: Path,
) -> None:
    for name, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / name).mkdir()
        executable(tmp_path / name / "script", "#!/bin/sh\necho right\n", mode)
    path = f"{tmp_path}/a:{tmp_path}/b"
    code, _, output = play(NO_STEPS + "job = command('script', env={b'PATH': args[0]})", path)
    assert (code, output) == (0, b"right\n")


@pytest.mark.parametrize("by_path", [True, False])
def test_a_script_whose_interpreter_is_missing_is_not_said_to_be_missing_itself(
    tmp_path: Path, *, by_path: bool
) -> None:
    path = executable(tmp_path / "script", "#!/no/such/interpreter\n")
    job = "command(args[0])" if by_path else "command('script', env={b'PATH': args[1]})"
    found = exec_failure(f"job = {job}", str(path), str(tmp_path))
    assert found.errno == errno.ENOENT
    assert found.text == f"{path}: the interpreter or loader that it names does not exist"


def test_a_text_without_an_interpreter_is_not_given_to_a_shell(tmp_path: Path) -> None:
    path = executable(tmp_path / "text", "echo unwanted\n")
    found = exec_failure("job = command(*args)", str(path))
    assert found.errno == errno.ENOEXEC


def test_arguments_that_are_too_long_for_the_kernel_are_refused_by_it() -> None:
    found = exec_failure("job = command('/bin/true', 'x' * 200000)")
    assert found.errno == errno.E2BIG


# The report


@given(st.binary(max_size=200))
def test_any_report_is_parsed_to_text_that_can_be_stored(text: bytes) -> None:
    report = EXECUTING + b"execute the command\0" + b"2\0" + text
    found = parse_report(report)
    assert found is not None
    assert found[:2] == (EXEC_STEP, 2)
    found.text.encode("utf-8")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=2000))
@example("ä" * 150)
@example("x" + "ä" * 150)
def test_what_is_reported_is_parsed_again(name: str) -> None:
    read, write = os.pipe()
    try:
        payload._report(write, "a step", OSError(errno.ENOENT, "why", name))
        found = parse_report(os.read(read, 4096))
    finally:
        os.close(read)
        os.close(write)
    assert found is not None
    assert found[:2] == ("a step", errno.ENOENT)
    encoded = name.encode()
    if len(encoded) <= payload._MAX_NAME_BYTES:
        assert found.text == f"{name}: why"
    else:
        # The name is cut, wherever in a character that is, and the reason is not.
        whole = encoded[: payload._MAX_NAME_BYTES].decode("utf-8", "ignore")
        assert found.text.startswith(whole)
        assert found.text.endswith("...: why")


def test_what_a_user_names_is_opened_before_anything_covers_it_and_the_drop_comes_late() -> None:
    """The order is the safety argument of the module."""
    command = payload.Command([b"x"], {}, b"/", 0o022, 1, 1, ())
    sandbox = {"filesystem": "host", "hostname": "job", "capabilities": [], "devices": []}
    setup = payload.Setup(None, None, None, None, sandbox, None, {}, {}, None)
    streams = payload.Streams(3, 4, 5, 6)
    steps = [name for name, _ in payload._steps(command, streams, setup)]
    order = [
        "enter the network", "enter the namespaces", "detach the mounts",
        "open what the job names", "build the file tree", "enter the user namespace",
        "drop privileges", "enter the working directory", "confine to paths",
        "mark the descriptors", "announce the command", "filter the system calls",
    ]  # fmt: skip
    places = [steps.index(name) for name in order]
    assert places == sorted(places)
    assert steps[-1] == "filter the system calls"
    assert len(set(steps)) == len(steps)
