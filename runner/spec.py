"""What a job is: the one map that is committed with it and that its monitor reads.

Built once from a validated request and the submitter's credentials; presets and defaults
are filled in here, so that a later change of the configuration changes no accepted job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from isolation.files.covers import SECRETS
from runner import records
from runner.message_queue_checks import USUAL_REASONS
from runner.presets import with_preset

if TYPE_CHECKING:
    from runner.config import Config
    from runner.message_limits import IoRequest, LimitsRequest
    from runner.message_logs import LogsRequest
    from runner.message_queue import RetryRequest
    from runner.message_sandbox import NetRequest, SandboxRequest
    from runner.messages import Submit
    from runner.rows import Job
    from runner.users import Account

DEFAULT_SECCOMP: Final = b"default"
DEFAULT_HOSTNAME: Final = "job-{}"

# Of jobs that were packed last, by id, with what that gave: together at most 2 MiB of records.
_MOST_KEPT: Final = 64
_MOST_KEPT_BYTES: Final = 32_768
_kept: Final[dict[str, tuple[bytes, dict[str, Any]]]] = {}


def build(
    job_id: str,
    request: Submit,
    account: Account,
    config: Config,
    *,
    deadline_ns: int | None = None,
) -> dict[str, Any]:
    """The spec of an accepted job. Text is bytes in it, as the kernel will see it.

    Unix time of the deadline, which a request may give as a span. Where a job waits, and with
    which priority, may change and stands in its row alone.
    """
    request = with_preset(request)
    return {
        "job": job_id,
        "argv": [bytes(argument) for argument in request.argv],
        "env": _environment(request),
        "cwd": bytes(request.cwd),
        "umask": request.umask,
        "network": _network(request),
        "net": net(request.net),
        "uid": account.uid,
        "gid": account.gid,
        "groups": list(account.groups),
        "user": account.name,
        "limits": limits(request.limits, config),
        "sandbox": sandbox(job_id, request.sandbox),
        "stop_grace_seconds": config.jobs.stop_grace_seconds,
        "logs": logs(request.logs, config),
        "retry": None if request.retry is None else retry(request.retry),
        "deadline_ns": deadline_ns,
    }


def retry(request: RetryRequest) -> dict[str, Any]:
    """How a job is tried again, complete; no `backoff_max_seconds`: the wait has no bound."""
    return {
        **structs.asdict(request),
        "on": list(request.on or USUAL_REASONS),
        "rules": [structs.asdict(rule) for rule in request.rules],
    }


def logs(request: LogsRequest, config: Config) -> dict[str, Any]:
    """How the job's log is kept, complete."""
    names = ("segment_bytes", "keep_bytes", "keep_segments", "compression", "on_full")
    defaults = {name: getattr(config.logs, name) for name in names}
    asked = {name: getattr(request, name) for name in request.__struct_fields__}
    return {**defaults, **{name: value for name, value in asked.items() if value is not None}}


def limits(request: LimitsRequest, config: Config) -> dict[str, Any]:
    """The limits that apply, in the names of the protocol; what is not limited is left out."""
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    fields["memory_max_bytes"] = request.memory_max_bytes or config.jobs.default_memory_max
    fields["pids_max"] = request.pids_max or config.jobs.default_pids_max or None
    fields["io"] = [io(entry) for entry in request.io]
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def io(entry: IoRequest) -> dict[str, Any]:
    """One entry of the io limits."""
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    fields["path"] = bytes(entry.path)
    return {name: value for name, value in fields.items() if value is not None}


def sandbox(job_id: str, request: SandboxRequest) -> dict[str, Any]:
    """Every field of the surroundings, with its default. `isolation.payload` reads it."""
    return {
        "preset": request.preset,
        "filesystem": request.filesystem or ("host" if request.root is None else "root"),
        "root": _path(request.root),
        "keep_changes": _path(request.keep_changes),
        "readable": [bytes(path) for path in request.readable],
        "writable": [bytes(path) for path in request.writable],
        "binds": [[bytes(b.source), bytes(b.target), b.read_only] for b in request.binds],
        "tmpfs": [[bytes(entry.path), entry.size_bytes] for entry in request.tmpfs],
        "hide": [bytes(path) for path in request.hide],
        "hostname": request.hostname or DEFAULT_HOSTNAME.format(job_id[:8]),
        "userns": bool(request.userns),
        "capabilities": [name.removeprefix("CAP_") for name in request.capabilities],
        "seccomp": bytes(request.seccomp or DEFAULT_SECCOMP),
        # Filled in by `runner.surroundings` for a profile of the submitter's own.
        "seccomp_program": None,
        "report_denied": request.report_denied,
        "devices": [bytes(device) for device in request.devices],
        "secrets": [[secret.name, bytes(secret.path)] for secret in request.secrets],
    }


def net(request: NetRequest) -> dict[str, Any]:
    """What a private network is asked to be."""
    return {
        "name": request.name,
        "publish": [
            [entry.host_address, entry.host_port, entry.port, entry.protocol]
            for entry in request.publish
        ],
        "allow_egress": request.allow_egress,
    }


def _environment(request: Submit) -> dict[bytes, bytes]:
    """As submitted, and where the secrets are if there are any."""
    places = {b"RUNNERD_SECRETS": SECRETS} if request.sandbox.secrets else {}
    return {**places, **request.env}


def _network(request: Submit) -> str:
    """Private where only that can give what is asked for; else loopback alone."""
    if request.network is not None:
        return request.network
    asked, limit = request.net, request.limits
    wants_private = (
        asked.name,
        asked.publish or None,
        asked.allow_egress,
        limit.net_egress_bits_per_second,
        limit.net_ingress_bits_per_second,
    )
    return "none" if wants_private == (None,) * len(wants_private) else "private"


def _path(path: bytes | None) -> bytes | None:
    return None if path is None else bytes(path)


def pack(spec: dict[str, Any]) -> bytes:
    """As it is committed and as it lies in the job's directory; read back by `runner.stored`.

    The map is kept for a while (`known`): nobody changes it any more.
    """
    packed = records.pack(spec)
    if len(packed) <= _MOST_KEPT_BYTES:
        _kept[spec["job"]] = packed, spec
        if len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]
    return packed


def known(job: Job) -> dict[str, Any] | None:
    """The map that a job's spec was packed from: most jobs start right after that. Only to be read.

    None: it is not known any more, or is not what the row has; `stored.spec` reads that.
    """
    packed, spec = _kept.get(job.id, (None, None))
    if spec is None or packed is not job.spec or spec["deadline_ns"] != job.deadline_ns:
        return None
    return spec
