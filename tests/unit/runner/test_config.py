"""The configuration: defaults, each bound, and errors with file, line and key."""

from __future__ import annotations

import os
import pathlib
import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import config as module
from runner.config import (
    Config,
    ConfigError,
    JobsConfig,
    LogsConfig,
    NetworkConfig,
    SandboxConfig,
    load,
)
from runner.config_gateway import MOST_NAMES, ClientsConfig, GatewayConfig
from runner.config_queues import QueueConfig, QuotaConfig, QuotasConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[3]
MIB = 1024 * 1024


def loaded(tmp_path: pathlib.Path, text: str | bytes) -> Config:
    path = tmp_path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return load(str(path))


def refusal(tmp_path: pathlib.Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    return str(error.value).removeprefix(f"{tmp_path}/")


def test_an_empty_file_means_the_defaults(tmp_path: pathlib.Path) -> None:
    assert loaded(tmp_path, "") == Config()
    assert Config().jobs == JobsConfig(
        max_running=256,
        max_queued=100_000,
        max_array=10_000,
        default_pids_max=4096,
        default_memory_max=None,
        stop_grace_seconds=10,
    )
    assert Config().logs == LogsConfig(segment_bytes=16 * MIB, keep_bytes=1024 * MIB)
    assert Config().clients == ClientsConfig(max_connections=512, max_connections_per_user=128)


def test_without_a_path_a_missing_default_file_means_the_defaults(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    monkeypatch.setattr(module, "DEFAULT_PATH", str(path))
    assert load() == Config()
    path.write_text("[jobs]\nmax_running = 3\n", "utf-8")
    assert load().jobs.max_running == 3


def test_a_file_that_was_named_must_be_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(ConfigError, match=re.escape(f"{path}: cannot be read: No such file")):
        load(str(path))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(str(tmp_path))


def test_every_key_can_be_set(tmp_path: pathlib.Path) -> None:
    text = """
        socket = "/run/a.sock"
        state_dir = "/srv/a"
        cgroup_root = "/sys/fs/cgroup/a"
        group = "a"
        admin_group = "b"
        required_controllers = ["cpu", "io"]
        native_launcher = false
        jobs = { max_running = 1, max_queued = 0, max_array = 3, default_pids_max = 2, \
                 default_memory_max = "256M", stop_grace_seconds = 0.5 }
        [logs]
        segment_bytes = 4096
        keep_bytes = "1t"
        max_bytes = "2T"
        [clients]
        max_connections = 7
        max_connections_per_user = 8
        [gateway]
        user = "runner-gateway"
        groups = ["runnerd", "staff"]
        users = ["alice", "4711"]
        allow_admins = true
        [sandbox]
        capabilities = ["NET_RAW", "CAP_KILL"]
        allow_unfiltered = false
        userns_base = 65536
        [network]
        subnet = "10.9.0.0/20"
        nameservers = ["10.0.0.1"]
        linger_seconds = 1.5
    """
    assert loaded(tmp_path, text) == Config(
        socket="/run/a.sock",
        state_dir="/srv/a",
        cgroup_root="/sys/fs/cgroup/a",
        group="a",
        admin_group="b",
        required_controllers=("cpu", "io"),
        native_launcher=False,
        jobs=JobsConfig(
            max_running=1,
            max_queued=0,
            max_array=3,
            default_pids_max=2,
            default_memory_max=256 * MIB,
            stop_grace_seconds=0.5,
        ),
        logs=LogsConfig(segment_bytes=4096, keep_bytes=2**40, max_bytes=2**41),
        clients=ClientsConfig(max_connections=7, max_connections_per_user=8),
        gateway=GatewayConfig(
            user="runner-gateway",
            groups=("runnerd", "staff"),
            users=("alice", "4711"),
            allow_admins=True,
        ),
        sandbox=SandboxConfig(
            capabilities=("NET_RAW", "KILL"), allow_unfiltered=False, userns_base=65_536
        ),
        network=NetworkConfig(subnet="10.9.0.0/20", nameservers=("10.0.0.1",), linger_seconds=1.5),
    )


REFUSALS = [
    *(
        (
            f"[gateway]\nuser = {name}",
            (
                "config.toml:2: gateway.user: expected the name or number of a user other than "
                f"root, got {name}"
            ),
        )
        for name in ('"root"', '"0"', '"000"', '"a b"', '""', "990", "true")
    ),
    (
        '[gateway]\nuser = "g"\ngroups = "staff"',
        (
            "config.toml:3: gateway.groups: expected a list of at most 1000 names of groups such "
            'as ["runnerd"], got "staff"'
        ),
    ),
    (
        '[gateway]\nuser = "g"\nusers = ["alice", "@staff"]',
        (
            "config.toml:3: gateway.users: expected a list of at most 1000 names or numbers of "
            'users such as ["alice"], got ["alice", "@staff"]'
        ),
    ),
    (
        '[gateway]\nuser = "g"\nallow_admins = 1',
        "config.toml:3: gateway.allow_admins: expected true or false, got 1",
    ),
    (
        '[gateway]\nuser = "g"\nallow_admin = true',
        "config.toml:3: gateway.allow_admin: unknown key; did you mean gateway.allow_admins?",
    ),
    (
        '[clients]\n[gateway]\nusers = ["alice"]',
        (
            "config.toml:2: gateway: it counts only with gateway.user, the user that the gateway "
            "runs as; set it, or leave the table out"
        ),
    ),
    (
        'sandbox.capabilities = ["FLY"]',
        (
            "config.toml:1: sandbox.capabilities: expected a list of capabilities such as "
            '"NET_BIND_SERVICE", got ["FLY"]'
        ),
    ),
    (
        'network.subnet = "10.0.0.1/16"',
        (
            "config.toml:1: network.subnet: expected an IPv4 network from /8 to /24 such as "
            '"10.213.0.0/16", got "10.0.0.1/16"'
        ),
    ),
    (
        'network.nameservers = ["dns"]',
        (
            "config.toml:1: network.nameservers: expected a list of at most 3 IPv4 addresses, "
            'got ["dns"]'
        ),
    ),
    (
        '# a\nsocket = "/run/x"\n\n[jobs]\n\n# b\nmax_running = "many"\n',
        'config.toml:7: jobs.max_running: expected a whole number of at least 1, got "many"',
    ),
    (
        "jobs.max_running = 0",
        "config.toml:1: jobs.max_running: expected a whole number of at least 1, got 0",
    ),
    (
        "\njobs.max_running = true",
        "config.toml:2: jobs.max_running: expected a whole number of at least 1, got true",
    ),
    (
        "[jobs]\nmax_running = 1.0",
        "config.toml:2: jobs.max_running: expected a whole number of at least 1, got 1.0",
    ),
    (
        "[jobs]\nmax_queued = -1",
        "config.toml:2: jobs.max_queued: expected a whole number of at least 0, got -1",
    ),
    (
        "[jobs]\nmax_array = 1_000_000_000",
        "config.toml:2: jobs.max_array: expected a whole number from 1 to 100000, got 1000000000",
    ),
    (
        "[jobs]\ndefault_pids_max = 4194305",
        (
            "config.toml:2: jobs.default_pids_max: expected a whole number from 0 to 4194304,"
            " got 4194305"
        ),
    ),
    (
        '[jobs]\ndefault_memory_max = "12Q"',
        (
            "config.toml:2: jobs.default_memory_max: expected a size from 4194304 to"
            ' 1125899906842624 bytes, as a number or as text such as "256M", got "12Q"'
        ),
    ),
    (
        '[jobs]\ndefault_memory_max = "1K"',
        (
            "config.toml:2: jobs.default_memory_max: expected a size from 4194304 to"
            ' 1125899906842624 bytes, as a number or as text such as "256M", got "1K"'
        ),
    ),
    (
        "[jobs]\nstop_grace_seconds = nan",
        (
            "config.toml:2: jobs.stop_grace_seconds: expected a number of seconds from 0 to 3600,"
            " got NaN"
        ),
    ),
    (
        "[jobs]\nstop_grace_seconds = inf",
        (
            "config.toml:2: jobs.stop_grace_seconds: expected a number of seconds from 0 to 3600,"
            " got Infinity"
        ),
    ),
    (
        'state_dir = "var"',
        'config.toml:1: state_dir: expected an absolute path such as "/run/x", got "var"',
    ),
    (
        'state_dir = "/a\\u0000"',
        'config.toml:1: state_dir: expected an absolute path such as "/run/x", got "/a\\u0000"',
    ),
    (
        f'socket = "/{"s" * 107}"',
        f'config.toml:1: socket: expected an absolute path of at most 107 bytes, got "/{"s" * 57}…',
    ),
    (
        'group = "a b"',
        'config.toml:1: group: expected the name of a group, got "a b"',
    ),
    (
        "group = 1979-05-27",
        'config.toml:1: group: expected the name of a group, got "1979-05-27"',
    ),
    (
        'required_controllers = [\n"cpu",\n"memroy"]',
        (
            "config.toml:1: required_controllers: expected a list of different cgroup controllers"
            " out of cpu, cpuset, io, memory, pids,"
            ' got ["cpu", "memroy"]'
        ),
    ),
    (
        'required_controllers = ["cpu", "cpu"]',
        (
            "config.toml:1: required_controllers: expected a list of different cgroup controllers"
            " out of cpu, cpuset, io, memory, pids,"
            ' got ["cpu", "cpu"]'
        ),
    ),
    (
        "[logs]\nsegment_bytes = 1",
        (
            "config.toml:2: logs.segment_bytes: expected a size from 4096 to 1099511627776 bytes,"
            ' as a number or as text such as "256M", got 1'
        ),
    ),
    (
        '[logs]\nsegment_bytes = "2M"\nkeep_bytes = "1M"',
        (
            "config.toml:3: logs.keep_bytes: expected at least logs.segment_bytes, 2097152,"
            " got 1048576"
        ),
    ),
    (
        '\n[logs]\nsegment_bytes = "2G"',
        (
            "config.toml:2: logs.keep_bytes: expected at least logs.segment_bytes, 2147483648,"
            " got 1073741824"
        ),
    ),
    (
        "\njobs = 3",
        "config.toml:2: jobs: expected a table, got 3",
    ),
    (
        "\n[socket]",
        "config.toml:2: socket: expected an absolute path of at most 107 bytes, got a table",
    ),
    (
        "[[jobs]]\nmax_running = 1",
        'config.toml:1: jobs: expected a table, got [{"max_running": 1}]',
    ),
    (
        "[jobs]\nmax_runing = 1",
        "config.toml:2: jobs.max_runing: unknown key; did you mean jobs.max_running?",
    ),
    (
        "max_running = 1",
        "config.toml:1: max_running: unknown key; did you mean jobs.max_running?",
    ),
    (
        "[job]\nmax_running = 1",
        "config.toml:1: job: unknown key; did you mean jobs?",
    ),
    (
        '[jobs]\n"x y\\n" = 1',
        (
            'config.toml:2: jobs."x y\\n": unknown key; known here: max_running, max_queued,'
            " max_array, default_pids_max, default_memory_max, stop_grace_seconds"
        ),
    ),
    (
        'state_dir = """\\\n/a\n[jobs]\nmax_running = 0\n"""\n[jobs]\nmax_running = "0"',
        'config.toml:7: jobs.max_running: expected a whole number of at least 1, got "0"',
    ),
    (
        "[jobs]\r\nmax_running = 1\r\nmax_queued = -1\r\n",
        "config.toml:3: jobs.max_queued: expected a whole number of at least 0, got -1",
    ),
    (
        f"\njobs.max_running = 0x{'f' * 5000}\njobs.max_queued = -0.5",
        "config.toml:3: jobs.max_queued: expected a whole number of at least 0, got -0.5",
    ),
    (
        f"\njobs.default_pids_max = 0x{'f' * 5000}",
        (
            "config.toml:2: jobs.default_pids_max: expected a whole number from 0 to 4194304,"
            " got a number that is too long to show"
        ),
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSALS, ids=[m for _, m in REFUSALS])
def test_what_is_wrong_is_refused_with_file_line_and_key(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    assert refusal(tmp_path, text) == message


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("a = 1\n= 2\n", "config.toml:2: not TOML: Invalid statement (column 1)"),
        ("\n\njobs.max_running 3", "config.toml:3: not TOML: Expected '=' after a key"),
        ("a = 1\na = 2\n", "config.toml:2: not TOML: Cannot overwrite a value"),
        ('a = 1\n\nb = "unclosed\n', "config.toml:3: not TOML: "),
        ("a = 1\n\nb = [1,\n", "config.toml:3: not TOML: "),
        ("a = " + "[" * 100_000, "config.toml: nested too deep"),
        ("a = 1\nb = " + "9" * 5000, "config.toml:"),
        (b"a = 1\n\nb = '\xff'", "config.toml:3: not UTF-8, which TOML is: byte 0xff"),
        (b"# " + b"x" * MIB, "config.toml: longer than 1048576 bytes"),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(
    tmp_path: pathlib.Path, text: str | bytes, beginning: str
) -> None:
    assert refusal(tmp_path, text).startswith(beginning)


@given(text=st.text(st.sampled_from("jobs.max_running=1[]{}\"'\n #,"), max_size=60))
def test_any_text_is_a_configuration_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    base = tmp_path_factory.mktemp("any")
    try:
        outcome = repr(loaded(base, text))
    except ConfigError as error:
        outcome = str(error).removeprefix(f"{base}/")
    assert re.match(r"Config\(|config\.toml:\d+: ", outcome)


def test_names_for_the_gateway_are_so_many_and_no_more(tmp_path: pathlib.Path) -> None:
    names = [f"user{number}" for number in range(MOST_NAMES + 1)]
    table = f'[gateway]\nuser = "g"\nusers = {names[:-1]}'
    assert len(loaded(tmp_path, table).gateway.users or ()) == MOST_NAMES
    refused = refusal(tmp_path, f'[gateway]\nuser = "g"\nusers = {names}')
    assert "a list of at most 1000 names" in refused


def test_an_empty_table_of_the_gateway_is_none(tmp_path: pathlib.Path) -> None:
    assert loaded(tmp_path, "[gateway]\nallow_admins = false").gateway == GatewayConfig()


PIECES = [
    "[queues.a]", "[queues]", "[quotas]", "[quotas.users.b]", "[capacity]", "[[queues.a]]",
    "queues", ".", "a", "b", " = ", "1", '"x y"', '["alice"]', "{", "}", "\n", "\n",
    "priority = 3", "users", "max_running = 2", "allow = []", "cpus = 1.5", "#",
]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_tables_with_names_are_a_configuration_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    base = tmp_path_factory.mktemp("tables")
    try:
        outcome = repr(loaded(base, "".join(pieces)))
    except ConfigError as error:
        outcome = str(error).removeprefix(f"{base}/")
    assert re.match(r"Config\(|config\.toml:\d+: ", outcome)


@given(number=st.integers(4, 2**20), unit=st.sampled_from(["M", "m", "G"]))
def test_sizes_as_text_and_as_numbers_mean_the_same(
    tmp_path_factory: pytest.TempPathFactory, number: int, unit: str
) -> None:
    path = tmp_path_factory.mktemp("size")
    factor = {"M": MIB, "G": 1024 * MIB}[unit.upper()]
    text = loaded(path, f'jobs.default_memory_max = "{number}{unit}"')
    assert text == loaded(path, f"jobs.default_memory_max = {number * factor}")


def test_the_command_line_wins_over_the_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = loaded(tmp_path, 'socket = "/run/a"\nstate_dir = "/srv/a"\n[jobs]\nmax_running = 2')
    changed = config.with_overrides(socket="/run/b", cgroup_root="relative/../c")
    assert changed == msgspec.structs.replace(
        config, socket="/run/b", cgroup_root=os.path.join(os.getcwd(), "c")
    )
    assert config.with_overrides() == config


def test_a_wrong_option_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"--state-dir: expected an absolute path .* got \"\""):
        Config().with_overrides(state_dir="")
    with pytest.raises(ConfigError, match=r"--socket: expected .* at most 107 bytes"):
        Config().with_overrides(socket="/" + "s" * 200)


def keys(table: msgspec.Struct) -> Iterator[str]:
    """Every key that has a name, in the order in which they are declared."""
    for key, value in msgspec.structs.asdict(table).items():
        if isinstance(value, msgspec.Struct):
            yield from keys(value)
        elif not isinstance(value, dict):
            yield key


def test_the_example_is_the_defaults_and_names_every_key() -> None:
    path = ROOT / "examples" / "config.toml"
    assert load(str(path)) == Config()
    text = path.read_text("utf-8")
    for key in (*keys(Config()), *keys(QueueConfig())):
        assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key


def test_what_the_example_has_in_comments_is_valid_too(tmp_path: pathlib.Path) -> None:
    text = (ROOT / "examples" / "config.toml").read_text("utf-8")
    config = loaded(tmp_path, re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE))
    assert config.admin_group == "runnerd-admin"
    assert config.jobs.default_memory_max == 2048 * MIB
    assert config.queues["batch"].allow == ("alice", "@staff")
    assert config.quotas.users["alice"].max_running == 128


def test_the_manual_has_every_key_with_its_default() -> None:
    text = (ROOT / "docs" / "CONFIGURATION.md").read_text("utf-8")
    whole = Config()
    sizes = {"segment_bytes": '"16M"', "keep_bytes": '"1G"', "max_bytes": '"16G"'}
    for name, table in (("Top level", whole), *tables(whole)):
        part = re.split(r"^## ", text.partition(f"\n## {name}\n")[2], flags=re.MULTILINE)[0]
        documented = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", part, re.MULTILINE)
        values = {key: value for key, value in msgspec.structs.asdict(table).items()
                  if not isinstance(value, msgspec.Struct | dict)}  # fmt: skip
        assert [key for key, _ in documented] == list(values), name
        for key, default in documented:
            written = msgspec.json.encode(values[key]).decode().replace('","', '", "')
            expected = "none" if values[key] is None else f"`{sizes.get(key, written)}`"
            assert default == expected, (name, key)


def tables(config: Config) -> Iterator[tuple[str, msgspec.Struct]]:
    """Each table below the top, by its heading."""
    for name, value in msgspec.structs.asdict(config).items():
        if isinstance(value, msgspec.Struct):
            yield f"[{name}]", value
    yield "[queues.NAME]", QueueConfig()


def test_a_quota_of_one_user_has_the_keys_of_everybodys() -> None:
    assert {*keys(QuotaConfig())} == {*keys(QuotasConfig())}


# Tables that the administrator names


def test_queues_are_tables_with_names_of_their_own(tmp_path: pathlib.Path) -> None:
    text = """
        [queues.default]
        max_running = 0
        [queues."night.2"]
        priority = -1000
        allow = ["alice", "@staff", "1000", "@0", "a@b.example", "box$"]
        max_priority = 1000
        [queues]
        empty = {}
    """
    assert loaded(tmp_path, text).queues == {
        "default": QueueConfig(max_running=0),
        "night.2": QueueConfig(
            priority=-1000,
            allow=("alice", "@staff", "1000", "@0", "a@b.example", "box$"),
            max_priority=1000,
        ),
        "empty": QueueConfig(),
    }


def test_quotas_are_everybodys_and_those_of_single_users(tmp_path: pathlib.Path) -> None:
    text = """
        [quotas]
        max_queued = 0
        max_cpus = 0.5
        [quotas.users.alice]
        max_memory = "4G"
        max_log_bytes = 4096
        [quotas.users.1001]
        max_running = 1
    """
    assert loaded(tmp_path, text).quotas == QuotasConfig(
        max_queued=0,
        max_cpus=0.5,
        users={
            "alice": QuotaConfig(max_memory=2**32, max_log_bytes=4096),
            "1001": QuotaConfig(max_running=1),
        },
    )


def test_so_many_queues_there_may_be_and_no_more(tmp_path: pathlib.Path) -> None:
    assert len(loaded(tmp_path, "\n".join(f"[queues.q{n}]" for n in range(256))).queues) == 256
    assert refusal(tmp_path, "\n".join(f"[queues.q{n}]" for n in range(257))) == (
        "config.toml:1: queues: expected at most 256 tables, got 257"
    )


NAME = (
    "expected a name of at most 64 letters, digits, '.', '_' and '-', the first a letter or digit"
)
WHO = 'expected a list of users and groups such as ["alice", "@staff"]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queues = 3", "1: queues: expected a table, got 3"),
        ("[queues]\na = 3", "2: queues.a: expected a table, got 3"),
        (
            "[queues.hooks]\nmax_running = 3",
            (
                "1: queues.hooks: this queue is there always, for what hooks run; use another "
                "name, or set hooks.max_running"
            ),
        ),
        (
            "[hooks]\nmax_running = -1",
            "2: hooks.max_running: expected a whole number of at least 0, got -1",
        ),
        ("[[queues.a]]\npriority = 3", '1: queues.a: expected a table, got [{"priority": 3}]'),
        ('[queues]\n"a b" = {}', f'2: queues."a b": {NAME}, got "a b"'),
        ('\n[queues."-x"]\npriority = 1', f'2: queues.-x: {NAME}, got "-x"'),
        ('[queues.""]', f'1: queues."": {NAME}, got ""'),
        (f"[queues.{'x' * 65}]", f'1: queues.{"x" * 65}: {NAME}, got "{"x" * 58}…'),
        (
            "[queues.a]\npriority = 1001",
            "2: queues.a.priority: expected a whole number from -1000 to 1000, got 1001",
        ),
        (
            "[queues.a]\n\nmax_runing = 1",
            "3: queues.a.max_runing: unknown key; did you mean queues.a.max_running?",
        ),
        (
            "[queues.a]\nx = 1",
            "2: queues.a.x: unknown key; known here: priority, max_running, allow, max_priority",
        ),
        ('[queues.a]\nallow = "alice"', f'2: queues.a.allow: {WHO}, got "alice"'),
        ('[queues.a]\nallow = ["@"]', f'2: queues.a.allow: {WHO}, got ["@"]'),
        ('[queues.a]\nallow = ["-x"]', f'2: queues.a.allow: {WHO}, got ["-x"]'),
        ('[queues.a]\nallow = ["4294967295"]', f'2: queues.a.allow: {WHO}, got ["4294967295"]'),
        ("[quotas.users]\na = 1", "2: quotas.users.a: expected a table, got 1"),
        (
            "[quotas.users.'a b']",
            '1: quotas.users."a b": expected the name or number of a user, got "a b"',
        ),
        (
            "[quotas.users.a]\nmax_cpu = 1",
            "2: quotas.users.a.max_cpu: unknown key; did you mean quotas.users.a.max_cpus?",
        ),
        (
            "[quotas]\nmax_cpus = 0",
            "2: quotas.max_cpus: expected a number of CPUs from 0.01 to 1024, got 0",
        ),
        (
            "[capacity]\ncpus = nan",
            "2: capacity.cpus: expected a number of CPUs from 0.01 to 1024, got NaN",
        ),
        (
            "[quotas]\nmax_running = 0",
            "2: quotas.max_running: expected a whole number of at least 1, got 0",
        ),
        ("queue = 1", "1: queue: unknown key; did you mean queues?"),
    ],
)
def test_a_wrong_table_with_a_name_is_refused_with_line_and_key(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    assert refusal(tmp_path, text) == f"config.toml:{message}"
