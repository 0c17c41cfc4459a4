"""What belongs together in a request, and what the kernel would refuse later anyway.

Pure: contradictions (`network none` with a published port), bounds over several fields,
texts that execve(2) and paths cannot take. Raises Refusal with the field named. What is asked
of the queue is looked at in `runner.message_queue_checks`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from client import protocol
from runner.message_limits import RLIMIT_NAMES, LimitsRequest
from runner.messages import Exec, Submit, Update
from runner.presets import with_preset
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.message_kinds import Closed
    from runner.message_limits import IoRequest
    from runner.message_sandbox import NetRequest, SandboxRequest

# PATH_MAX of linux/limits.h counts the final NUL.
_MAX_PATH_BYTES: Final = 4095
_ACCESS: Final = frozenset({b"", b"r", b"w", b"rw"})
# What each job has to itself is no place for something else; below is fine.
_PRIVATE: Final = ([b"tmp"], [b"dev"], [b"dev", b"shm"], [b"dev", b"pts"], [b"run", b"user"])


def check(message: Closed) -> None:
    """Raise Refusal for what contradicts itself or can never work."""
    if isinstance(message, Submit):
        _check_submit(message)
    elif isinstance(message, Exec):
        check_text(message)
    elif isinstance(message, Update):
        _check_update(message)


def invalid(field: str, given: str, allowed: str) -> Refusal:
    """The refusal of a wrong value."""
    return Refusal("invalid-argument", field=field, given=given, allowed=allowed)


def _check_submit(message: Submit) -> None:
    check_text(message)
    check_limits(with_preset(message).limits)
    _check_logs(message)
    _check_sandbox(message.sandbox)
    _check_net(message)


def check_text(message: Submit | Exec) -> None:
    """What the kernel's own limits on execve(2) and paths will refuse later, refused now.

    Raises Refusal.
    """
    total = 0
    for index, argument in enumerate(message.argv):
        total += _checked(f"argv[{index}]", argument)
    if not message.argv[0]:
        raise invalid("argv[0]", "''", "a command")
    total += _environment_bytes(message.env)
    if total > protocol.MAX_ARGV_ENV_BYTES:
        raise invalid(
            "argv and env",
            f"{total} bytes",
            f"at most {protocol.MAX_ARGV_ENV_BYTES} bytes together",
        )
    if message.cwd is not None:
        check_path("cwd", message.cwd)


def _environment_bytes(env: Mapping[bytes, bytes]) -> int:
    """What NAME=VALUE of all variables take together. Raises Refusal."""
    total = protocol.environment_bytes(env)
    if total is None:
        total = sum(_check_variable(name, value) for name, value in env.items())
    return total


def _check_variable(name: bytes, value: bytes) -> int:
    # The kernel counts NAME=VALUE as one string.
    text = name + b"=" + value
    is_fit = name and b"=" not in name and b"\0" not in text
    if is_fit and len(text) <= protocol.MAX_ARGUMENT_BYTES:
        return len(text)
    # Only now: there are hundreds, and what is wrong with one takes time to say.
    field = f"env[{shown(name)}]"
    if not name or b"=" in name:
        raise invalid(field, shown(name), "a name without '='")
    return _checked(field, text)


def _checked(field: str, text: bytes) -> int:
    if b"\0" in text:
        raise invalid(field, shown(text), "text without NUL")
    if len(text) > protocol.MAX_ARGUMENT_BYTES:
        raise invalid(field, f"{len(text)} bytes", f"at most {protocol.MAX_ARGUMENT_BYTES} bytes")
    return len(text)


def check_path(field: str, path: bytes) -> None:
    """An absolute path that the kernel could take. Raises Refusal."""
    if not path.startswith(b"/") or b"\0" in path or len(path) > _MAX_PATH_BYTES:
        raise invalid(field, shown(path), "an absolute path of at most 4095 bytes without NUL")


def check_limits(limits: LimitsRequest) -> None:
    """Limits that contradict each other, whoever asked for them. Raises Refusal."""
    _check_io(limits.io)
    _check_rlimits(limits.rlimits)
    _check_cpu_set(limits.cpu_set)
    high, most = limits.memory_high_bytes, limits.memory_max_bytes
    if high is not None and most is not None and high > most:
        raise invalid("limits.memory_high_bytes", str(high), f"at most memory_max_bytes, {most}")
    if limits.cpu_idle and limits.cpu_weight is not None:
        raise invalid("limits.cpu_weight", str(limits.cpu_weight), "nothing, with cpu_idle")
    _check_warning(limits)
    if limits.output_policy in {"block", "end"} and limits.output_max_bytes is None:
        allowed = "output_max_bytes with it"
        raise invalid("limits.output_policy", shown(limits.output_policy), allowed)


def _check_warning(limits: LimitsRequest) -> None:
    warning, timeout = limits.warning_seconds, limits.timeout_seconds
    if limits.warning_signal is not None and warning is None:
        allowed = "warning_seconds with it"
        raise invalid("limits.warning_signal", str(limits.warning_signal), allowed)
    if warning is not None and (timeout is None or warning >= timeout):
        allowed = "less than timeout_seconds, which it comes before"
        if timeout is None:
            allowed = "timeout_seconds with it"
        raise invalid("limits.warning_seconds", str(warning), allowed)


def _check_io(entries: list[IoRequest]) -> None:
    for index, entry in enumerate(entries):
        field = f"limits.io[{index}]"
        check_path(f"{field}.path", entry.path)
        rates = (getattr(entry, name) for name in entry.__struct_fields__ if name != "path")
        if all(rate is None for rate in rates):
            raise invalid(field, "no rate", "a rate: bytes or operations a second, read or write")


def _check_rlimits(rlimits: Mapping[str, list[int | None]]) -> None:
    for name, (soft, hard) in rlimits.items():
        field = f"limits.rlimits.{name}" if name in RLIMIT_NAMES else "limits.rlimits"
        if name not in RLIMIT_NAMES:
            raise invalid(field, shown(name), f"one of: {', '.join(RLIMIT_NAMES)}")
        if hard is not None and (soft is None or soft > hard):
            raise invalid(field, shown([soft, hard]), "a soft limit up to the hard one")


def _check_cpu_set(text: str | None) -> None:
    for part in (text or "").split(",") if text else ():
        low, dash, high = part.partition("-")
        if dash and int(low) > int(high):
            raise invalid("limits.cpu_set", shown(text), "ranges from low to high, such as 0-3,8")


def _check_update(message: Update) -> None:
    """Its own values only; with what the job has, they are looked at by `runner.limit_changes`."""
    update = message.limits
    given = {
        name: value
        for name in update.__struct_fields__
        if (value := getattr(update, name)) is not None and value is not UNSET
    }
    nothing = all(getattr(update, name) is UNSET for name in update.__struct_fields__)
    if nothing and message.priority is UNSET:
        raise invalid("limits", "nothing", "at least one limit to change, or a priority")
    _check_io(given.get("io", []))
    _check_rlimits(given.get("rlimits", {}))
    _check_cpu_set(given.get("cpu_set"))


def _check_logs(message: Submit) -> None:
    segments, policy = message.logs.keep_segments, message.limits.output_policy
    if segments is not None and policy in {"block", "end"}:
        allowed = f"nothing, with output_policy {policy}, which keeps everything"
        raise invalid("logs.keep_segments", str(segments), allowed)


# Surroundings


def _check_sandbox(sandbox: SandboxRequest) -> None:
    _check_file_system(sandbox)
    _check_places(sandbox)
    _check_seccomp(sandbox)
    for index, device in enumerate(sandbox.devices):
        path, _, access = device.partition(b":")
        if device != b"all" and (not path.startswith(b"/dev/") or access not in _ACCESS):
            allowed = "all, or a path below /dev with :r, :w or :rw"
            raise invalid(f"sandbox.devices[{index}]", shown(device), allowed)
    names = [secret.name for secret in sandbox.secrets]
    for index, secret in enumerate(sandbox.secrets):
        check_path(f"sandbox.secrets[{index}].path", secret.path)
        if names.index(secret.name) != index:
            raise invalid(f"sandbox.secrets[{index}].name", shown(secret.name), "each name once")


def _check_file_system(sandbox: SandboxRequest) -> None:
    mode = sandbox.filesystem
    if sandbox.root is not None:
        check_path("sandbox.root", sandbox.root)
        if mode not in {None, "root"}:
            raise invalid("sandbox.root", shown(sandbox.root), "nothing, unless filesystem is root")
    elif mode == "root":
        allowed = "root with it: a directory, tar archive or squashfs image"
        raise invalid("sandbox.filesystem", "'root'", allowed)
    if sandbox.keep_changes is not None:
        check_path("sandbox.keep_changes", sandbox.keep_changes)
        has_changes = mode in {"overlay", "root"} or sandbox.root or sandbox.preset
        if not has_changes:
            allowed = "nothing, unless filesystem is overlay or root"
            raise invalid("sandbox.keep_changes", shown(sandbox.keep_changes), allowed)
    if sandbox.preset is not None and mode == "host":
        allowed = f"readonly, overlay or root, with preset {sandbox.preset}"
        raise invalid("sandbox.filesystem", "'host'", allowed)


def _check_places(sandbox: SandboxRequest) -> None:
    for name in ("readable", "writable", "hide"):
        for index, path in enumerate(getattr(sandbox, name)):
            check_path(f"sandbox.{name}[{index}]", path)
    for index, bind in enumerate(sandbox.binds):
        check_path(f"sandbox.binds[{index}].source", bind.source)
        _check_place(f"sandbox.binds[{index}].target", bind.target)
        if _parts(bind.target) in _PRIVATE:
            field = f"sandbox.binds[{index}].target"
            raise invalid(field, shown(bind.target), "a path below it: this place is the job's own")
    for index, tmpfs in enumerate(sandbox.tmpfs):
        _check_place(f"sandbox.tmpfs[{index}].path", tmpfs.path)
    for index, path in enumerate(sandbox.hide):
        _check_place(f"sandbox.hide[{index}]", path)


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in {b"", b"."}]


def _check_place(field: str, path: bytes) -> None:
    """A place in the job's tree that may be covered: not its root, no way up."""
    check_path(field, path)
    parts = _parts(path)
    if not parts or b".." in parts:
        raise invalid(field, shown(path), "an absolute path below / without ..")
    if parts[0] in {b"proc", b"sys"}:
        raise invalid(field, shown(path), "a path outside of /proc and /sys")


def _check_seccomp(sandbox: SandboxRequest) -> None:
    profile = sandbox.seccomp
    if profile is not None and profile not in {b"default", b"strict", b"none"}:
        if not profile.startswith(b"/"):
            allowed = "default, strict, none, or the absolute path of a profile"
            raise invalid("sandbox.seccomp", shown(profile), allowed)
        check_path("sandbox.seccomp", profile)
    if profile == b"none" and (sandbox.preset or sandbox.report_denied):
        other = f"preset {sandbox.preset}" if sandbox.preset else "report_denied"
        allowed = f"default, strict or a profile of one's own, with {other}"
        raise invalid("sandbox.seccomp", "'none'", allowed)
    if sandbox.preset and sandbox.userns is False:
        raise invalid("sandbox.userns", "False", f"True, with preset {sandbox.preset}")
    if sandbox.preset and sandbox.capabilities:
        allowed = f"none, with preset {sandbox.preset}"
        raise invalid("sandbox.capabilities", shown(sandbox.capabilities), allowed)


def _check_net(message: Submit) -> None:
    limits, net = message.limits, message.net
    asked = {
        "net.name": net.name,
        "net.publish": net.publish or None,
        "net.allow_egress": net.allow_egress,
        "limits.net_egress_bits_per_second": limits.net_egress_bits_per_second,
        "limits.net_ingress_bits_per_second": limits.net_ingress_bits_per_second,
    }
    for field, value in asked.items():
        if value is not None and message.network not in {None, "private"}:
            given = f"network {message.network}"
            raise invalid(field, given, "network private with it")
    if message.sandbox.preset and message.network == "host":
        allowed = f"none or private, with preset {message.sandbox.preset}"
        raise invalid("network", "'host'", allowed)
    _check_ports(net)


def _check_ports(net: NetRequest) -> None:
    seen: list[tuple[str | None, int, str]] = []
    for index, entry in enumerate(net.publish):
        address = entry.host_address
        if address is not None:
            try:
                ipaddress.IPv4Address(address)
            except ValueError:
                field = f"net.publish[{index}].host_address"
                raise invalid(field, shown(address), "an IPv4 address") from None
        key = (address, entry.host_port, entry.protocol)
        if key in seen:
            raise invalid(f"net.publish[{index}].host_port", str(entry.host_port), "each port once")
        seen.append(key)
