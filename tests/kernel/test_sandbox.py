"""What a job sees and may do, asked for on the command line as a user would, seen from inside."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import tarfile
import uuid
from typing import TYPE_CHECKING

import msgpack
import pytest

from tests.kernel import inside
from tests.kernel.harness import STATE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

MIB = 2**20


@pytest.fixture
def place(users: dict[str, int]) -> Iterator[str]:
    """A directory of alice's on the disk, with a file in it."""
    path = f"{STATE}/alice-{uuid.uuid4()}"
    os.mkdir(path, 0o755)
    pathlib.Path(f"{path}/file").write_text("old", encoding="ascii")
    for name in (path, f"{path}/file"):
        os.chown(name, users["alice"], users["alice"])
    yield path
    shutil.rmtree(path)


def run(daemon: Daemon, *options: str, command: str, cwd: str = "/", user: str = "alice") -> str:
    """What a shell command says as a job with these options; it must end well."""
    done = daemon.runctl("run", *options, "--", "sh", "-c", command, user=user, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# The file tree


def test_in_a_readonly_tree_only_the_working_directory_can_be_written(
    daemon: Daemon, place: str
) -> None:
    said = run(
        daemon, "--fs", "readonly", cwd=place,
        command="echo new > file; touch /home/alice/x 2>&1; echo $?; touch /tmp/y; echo $?",
    )  # fmt: skip
    assert "Read-only file system" in said
    assert said.splitlines()[-2:] == ["1", "0"]
    assert pathlib.Path(f"{place}/file").read_text(encoding="ascii") == "new\n"


def test_a_named_path_of_a_readonly_tree_can_be_written(daemon: Daemon, place: str) -> None:
    run(daemon, "--fs", "readonly", "--rw", place, "--ro", "/", command=f"echo new > {place}/file")
    assert pathlib.Path(f"{place}/file").read_text(encoding="ascii") == "new\n"


def test_what_a_job_changes_in_an_overlay_is_gone(daemon: Daemon, place: str) -> None:
    said = run(
        daemon, "--fs", "overlay", cwd=place, command="echo new > file; cat file; touch more"
    )
    assert said == "new\n"
    assert os.listdir(place) == ["file"]
    assert pathlib.Path(f"{place}/file").read_text(encoding="ascii") == "old"


def test_changes_that_are_kept_are_found_again(daemon: Daemon, place: str) -> None:
    os.mkdir(f"{place}/kept")
    os.chown(f"{place}/kept", os.stat(place).st_uid, os.stat(place).st_gid)
    options = ("--fs", "overlay", "--keep-changes", f"{place}/kept")
    run(daemon, *options, cwd=place, command="echo new > file")
    assert run(daemon, *options, cwd=place, command="cat file") == "new\n"
    assert pathlib.Path(f"{place}/file").read_text(encoding="ascii") == "old"


@pytest.mark.parametrize("kind", ["directory", "archive"])
def test_a_foreign_root_is_all_that_a_job_sees(daemon: Daemon, place: str, kind: str) -> None:
    root = pathlib.Path(place) / "root"
    for name in ("usr", "etc"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/mine").write_text("mine\n", encoding="ascii")
    source = root
    if kind == "archive":
        source = pathlib.Path(place) / "root.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(root, ".")
    for path, names, files in os.walk(place):
        for name in (*names, *files):
            os.chown(f"{path}/{name}", os.stat(place).st_uid, -1, follow_symlinks=False)
    said = run(
        daemon, "--root", str(source), "--bind", "/usr:/usr:ro",
        command="cat /etc/mine; ls /home 2>&1; echo x > /etc/new && cat /etc/new; pwd",
    )  # fmt: skip
    assert said.splitlines()[0] == "mine"
    assert "/home" in said.splitlines()[1]
    assert said.splitlines()[-2:] == ["x", "/"]
    assert not (root / "etc/new").exists()
    # What the set-up does is not in the job's output.
    done = daemon.runctl("run", "--root", str(source), "--bind", "/usr:/usr:ro", "--", "true",
                         user="alice", cwd="/")  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_binds_tmpfs_and_hidden_places_are_where_they_were_asked_for(
    daemon: Daemon, place: str
) -> None:
    said = run(
        daemon, "--fs", "overlay", "--bind", f"{place}:/srv/here:ro", "--tmpfs", "/srv/mem:1M",
        "--hide", "/etc/passwd", "--hide", "/home",
        command="cat /srv/here/file; echo; touch /srv/here/x 2>&1; df -k /srv/mem | tail -1;"
        " wc -c < /etc/passwd; ls -A /home 2>&1; true",
    )  # fmt: skip
    lines = said.splitlines()
    assert lines[0] == "old"
    assert "Read-only file system" in lines[1]
    assert lines[2].split()[1] == "1024"
    assert lines[3] == "0"
    assert lines[4:] in ([], ["ls: cannot open directory '/home': Permission denied"])


def test_a_secret_is_in_a_file_of_the_job_and_nowhere_else(daemon: Daemon, place: str) -> None:
    path = pathlib.Path(place) / "token"
    path.write_text("s3cr3t-value", encoding="ascii")
    os.chmod(path, 0o600)
    os.chown(path, os.stat(place).st_uid, os.stat(place).st_gid)
    said = run(
        daemon, "--secret", f"api={path}", "--name", "secretive",
        command="cat $RUNNERD_SECRETS/api; echo; stat -c %a $RUNNERD_SECRETS/api;"
        " (echo x > $RUNNERD_SECRETS/api) 2>/dev/null || echo no",
    )  # fmt: skip
    assert said.splitlines() == ["s3cr3t-value", "400", "no"]
    kept = b""
    for directory, _, names in os.walk(daemon.state_dir):
        for name in names:
            file = pathlib.Path(directory, name)
            if file.is_file() and "log" not in directory:
                kept += file.read_bytes()
    assert b"secretive" in kept
    assert b"s3cr3t-value" not in kept


def test_a_secret_that_the_user_may_not_read_is_refused(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--secret", "x=/etc/shadow", "--", "true", user="alice")
    assert done.returncode == 125
    assert "--secret" in done.stderr


def test_the_job_has_a_host_name_of_its_own(daemon: Daemon) -> None:
    assert run(daemon, "--hostname", "box", command="hostname") == "box\n"
    assert run(daemon, command="hostname").startswith("job-")


# Users and privileges


def test_in_a_user_namespace_root_is_nobody_outside_and_owns_what_the_user_owns(
    daemon: Daemon, place: str, users: dict[str, int]
) -> None:
    said = run(daemon, "--userns", cwd=place, command="id -u; stat -c %u file; echo new > made")
    assert said.splitlines() == ["0", "0"]
    assert os.stat(f"{place}/made").st_uid == users["alice"]


def test_a_file_made_setuid_in_a_user_namespace_is_no_way_to_anybody_else(
    daemon: Daemon, place: str, users: dict[str, int]
) -> None:
    run(daemon, "--userns", cwd=place, command="cp /usr/bin/id mine; chmod 4755 mine")
    status = os.stat(f"{place}/mine")
    assert status.st_uid == users["alice"]


def test_a_capability_is_given_to_members_by_the_configuration_alone(own_daemon: Daemon) -> None:
    show = "grep CapEff /proc/self/status"
    own_daemon.config.write_text('[sandbox]\ncapabilities = ["NET_BIND_SERVICE"]\n')
    own_daemon.start()
    said = run(own_daemon, "--cap-add", "NET_BIND_SERVICE", command=show)
    assert int(said.split()[1], 16) == 1 << 10
    refused = own_daemon.runctl("run", "--cap-add", "SYS_ADMIN", "--", "true", user="alice")
    assert refused.returncode == 125
    assert "--cap-add" in refused.stderr
    assert "NET_BIND_SERVICE" in refused.stderr
    done = own_daemon.runctl("run", "--cap-add", "SYS_TIME", "--", "sh", "-c", show)
    assert int(done.stdout.split()[1], 16) >> 25 & 1


def test_members_may_be_forbidden_to_go_without_the_filter(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[sandbox]\nallow_unfiltered = false\n")
    own_daemon.start()
    refused = own_daemon.runctl("run", "--seccomp", "none", "--", "true", user="alice")
    assert refused.returncode == 125
    assert "--seccomp" in refused.stderr
    assert own_daemon.runctl("run", "--seccomp", "none", "--", "true").returncode == 0


def test_a_profile_of_ones_own_is_checked_when_the_job_is_submitted(
    daemon: Daemon, place: str
) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    path = pathlib.Path(place) / "profile.json"
    path.write_text(json.dumps(profile), encoding="ascii")
    os.chmod(path, 0o644)
    done = daemon.runctl(
        "run", "--seccomp", str(path), "--", "mkdir", "/tmp/x", user="alice", cwd="/"
    )
    assert "No space left on device" in done.stderr
    path.write_text('{"defaultAction": "SCMP_ACT_FLY"}', encoding="ascii")
    refused = daemon.runctl("run", "--seccomp", str(path), "--", "true", user="alice", cwd="/")
    assert refused.returncode == 125
    assert "defaultAction" in refused.stderr


def test_what_the_filter_refused_is_in_the_result(daemon: Daemon) -> None:
    program = "import ctypes; c = ctypes.CDLL(None); [c.mount(0, 0, 0, 0, 0) for _ in range(3)]"
    done = daemon.runctl(
        "run", "--report-denied", "--name", "nosy", "--", *inside.python(program), user="alice"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "refused system calls: mount" in done.stderr
    shown = json.loads(daemon.runctl("status", "--json", "nosy", user="alice").stdout)
    assert shown["result"]["denied"] == [{"syscall": "mount", "count": 3}]


def test_another_group_of_the_user_may_be_asked_for_and_no_other(daemon: Daemon) -> None:
    assert run(daemon, "--group", "runnerd", command="id -gn") == "runnerd\n"
    refused = daemon.runctl("run", "--group", "root", "--", "true", user="alice")
    assert refused.returncode == 125
    assert "--group" in refused.stderr


def test_a_device_that_was_not_asked_for_is_neither_there_nor_opened(
    daemon: Daemon, place: str
) -> None:
    node = f"{place}/disk"
    os.mknod(node, 0o060666, os.stat("/dev/ubda").st_rdev)
    os.chmod(node, 0o666)  # noqa: S103 - the owner is not what is tested
    # The file system of the test's disk honours device nodes: the filter alone is in the way.
    said = run(daemon, command=f"ls /dev/ubda 2>&1; head -c1 {node} 2>&1; true", cwd=place)
    assert "No such file" in said
    assert "Operation not permitted" in said


def test_a_device_that_was_asked_for_can_be_used(daemon: Daemon) -> None:
    os.chmod("/dev/loop0", 0o666)  # noqa: S103
    said = run(daemon, "--devices", "/dev/loop0:r", command="ls /dev/loop0; head -c1 /dev/loop0")
    assert said == "/dev/loop0\n"
    done = daemon.runctl("run", "--devices", "/dev/none", "--", "true", user="alice")
    assert (done.returncode, "--devices" in done.stderr) == (125, True)


def test_an_environment_can_be_clean(daemon: Daemon) -> None:
    done = daemon.runctl(
        "run", "--clean-env", "--env", "A=1", "--", "env", user="alice", env={"SECRET": "x"}
    )
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"A", "PATH", "HOME", "USER"} <= names
    assert "SECRET" not in names


def test_a_strangers_program_can_be_run_with_one_word(daemon: Daemon, place: str) -> None:
    said = run(
        daemon, "--sandbox", "untrusted", cwd=place, user="alice",
        command="cat file; echo; id -u; echo new > file; ls /home /root 2>&1; ulimit -n",
    )  # fmt: skip
    lines = said.splitlines()
    assert lines[:2] == ["old", "0"]
    assert "Permission denied" in said
    assert lines[-1] == "256"
    assert pathlib.Path(f"{place}/file").read_text(encoding="ascii") == "old"
    shown = daemon.runctl("ps", "--all", "--json", user="alice")
    job = json.loads(shown.stdout)[0]["job"]
    limits = json.loads(daemon.runctl("status", "--json", job, user="alice").stdout)["limits"]
    assert limits["memory_max_bytes"] == 256 * MIB
    assert limits["rlimits"]["core"] == [0, 0]


# Limits of the surroundings


def test_private_directories_have_the_size_that_was_asked_for_and_can_be_resized(
    daemon: Daemon,
) -> None:
    fill = "head -c 3M /dev/zero > /tmp/x 2>&1; stat -c %s /tmp/x"
    assert run(daemon, "--scratch", "1M", command=fill).splitlines()[-1] == str(MIB)
    with daemon.client() as client:
        limits = {"scratch_max_bytes": 2 * MIB}
        job = inside.submit(client, "sh", "-c", "head -c 1500K /dev/zero > /tmp/x; echo full; "
                            "until head -c 3M /dev/zero > /tmp/y 2>/dev/null; do sleep 0.05; done",
                            limits=limits)  # type: ignore[arg-type]  # fmt: skip
        inside.wait_for_output(client, job, b"full")
        refused = daemon.runctl("update", job, "--scratch", "1M")
        updated = daemon.runctl("update", job, "--scratch", "16M")
        result = client.wait(job, timeout_seconds=60)["result"]
    assert updated.returncode == 0, updated.stderr
    assert refused.returncode == 125
    assert "--scratch" in refused.stderr
    assert result is not None
    assert result["exit_code"] == 0


@pytest.mark.parametrize("target", ["/tmp", "/dev/shm", "/dev/shm/."])
def test_nothing_of_the_hosts_is_put_where_a_job_has_its_own(daemon: Daemon, target: str) -> None:
    done = daemon.runctl("run", "--bind", f"/run/lock:{target}", "--", "true", user="alice")
    assert done.returncode == 125
    assert "--bind" in done.stderr


def test_a_file_system_of_the_host_is_not_resized_for_a_job(
    daemon: Daemon, tmp_path: pathlib.Path
) -> None:
    # In namespaces of its own, which only without the filter it can make.
    script = (
        f"mount --bind {tmp_path} /tmp && mount --bind {tmp_path} /dev/shm && echo in && sleep 100"
    )
    inside.on_host("mount", "-t", "tmpfs", "-o", "size=2M,mode=777", "tmpfs", str(tmp_path))
    try:
        with daemon.client() as client:
            job = inside.submit(
                client, "unshare", "-rm", "sh", "-c", script, sandbox={"seccomp": b"none"},
                limits={"scratch_max_bytes": 4 * MIB}, cwd="/",
            )  # fmt: skip
            inside.wait_for_output(client, job, b"in")
            refused = daemon.runctl("update", job, "--scratch", "64M")
            client.stop(job, kill=True)
            client.wait(job)
        assert refused.returncode == 125, refused.stdout
        assert os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize == 2 * MIB
    finally:
        inside.on_host("umount", str(tmp_path))


def test_resource_limits_are_those_that_were_asked_for(daemon: Daemon) -> None:
    options = ("--rlimit", "nofile=100:200", "--rlimit", "core=0", "--rlimit", "fsize=1M")
    said = run(daemon, *options, command="ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f")
    assert said.split() == ["100", "200", "0", "2048"]


# Private networks


def test_a_published_port_leads_to_the_job(daemon: Daemon) -> None:
    program = (
        "import socket; s = socket.create_server(('', 80)); print('up', flush=True); "
        "c, a = s.accept(); c.sendall(b'hello from the job'); c.close()"
    )
    with daemon.client() as client:
        port = free_port()
        job = inside.submit(
            client, *inside.python(program), net={"publish": [{"host_port": port, "port": 80}]}
        )
        inside.wait_for_output(client, job, b"up")
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            assert connection.recv(100) == b"hello from the job"
        address = client.status(job)["net"]["address"]
        assert address.startswith("10.213.")
        assert client.wait(job, timeout_seconds=60)["state"] == "ended"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_that_is_taken_or_reserved_is_refused(daemon: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = daemon.runctl("run", "--publish", f"{port}:80", "--", "true", user="alice")
    assert done.returncode == 125
    assert str(port) in done.stderr
    done = daemon.runctl("run", "--publish", "80:80", "--", "true", user="alice")
    assert done.returncode == 125
    assert "--publish" in done.stderr


def test_the_network_of_a_job_outlives_a_daemon_that_is_killed(own_daemon: Daemon) -> None:
    own_daemon.start()
    program = (
        "import socket; s = socket.create_server(('', 80)); print('up', flush=True)\n"
        "while True: c, a = s.accept(); c.sendall(b'still here'); c.close()"
    )
    port = free_port()
    with own_daemon.client() as client:
        job = inside.submit(
            client, *inside.python(program), net={"publish": [{"host_port": port, "port": 80}]}
        )
        inside.wait_for_output(client, job, b"up")
        address = client.status(job)["net"]["address"]
    own_daemon.kill()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        assert connection.recv(100) == b"still here"
    own_daemon.start()
    with own_daemon.client() as client:
        assert client.status(job)["net"]["address"] == address
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            assert connection.recv(100) == b"still here"
        client.stop(job, kill=True)
        client.wait(job)
    wait_until(lambda: not any(name.startswith("rd") for name in os.listdir("/sys/class/net")))


def test_the_range_of_a_job_that_is_being_set_up_outlives_a_daemon_that_is_killed(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with own_daemon.client() as client:
        job = inside.submit(client, "sleep", "1000", sandbox={"userns": True}, cwd="/tmp")
        pid = inside.wait_for_command(own_daemon, job, "sleep")
    # As if no process were in its namespace yet: what was written down counts.
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as file:
        base = int(file.read().split()[1])
    path = f"{own_daemon.state_dir}/jobs/{job}/spec"
    assert msgpack.unpackb(pathlib.Path(path).read_bytes(), strict_map_key=False)["base"] == base
    own_daemon.kill()
    own_daemon.start()
    done = own_daemon.runctl("exec", job, "--", "sh", "-c", "id -u; echo ok > /dev/stdout")
    assert done.stdout.split() == ["0", "ok"], done.stderr
    with own_daemon.client() as client:
        client.stop(job, kill=True)
        client.wait(job)


def test_the_range_of_a_user_namespace_outlives_a_daemon_that_is_killed(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()

    def base(job: str) -> int:
        pid = inside.wait_for_command(own_daemon, job, "sleep")
        return os.stat(f"/proc/{pid}").st_uid

    with own_daemon.client() as client:
        first = inside.submit(client, "sleep", "1000", sandbox={"userns": True}, cwd="/tmp")
        taken = base(first)
    own_daemon.kill()
    own_daemon.start()
    with own_daemon.client() as client:
        jobs = [
            inside.submit(client, "sleep", "1000", sandbox={"userns": True}, cwd="/tmp")
            for _ in range(3)
        ]
        assert taken not in {base(job) for job in jobs}
        for job in (first, *jobs):
            client.stop(job, kill=True)
            client.wait(job)


def test_status_shows_what_the_job_was_given(daemon: Daemon, place: str) -> None:
    options = ("--fs", "overlay", "--bind", f"{place}:/srv:ro", "--userns", "--net", "private")
    done = daemon.runctl("run", "--name", "shown", *options, "--", "true", user="alice", cwd="/")
    assert done.returncode == 0, done.stderr
    text = daemon.runctl("status", "shown", user="alice").stdout
    for word in ("overlay", place, "private"):
        assert word in text


def test_doctor_says_what_of_it_this_host_can_enforce(daemon: Daemon) -> None:
    with daemon.client() as client:
        features = {item["name"]: item for item in client.doctor()["features"]}
    for name in ("landlock", "seccomp", "private-network", "device-filter", "overlay"):
        found = [item for key, item in features.items() if key.startswith(name)]
        assert found, (name, sorted(features))
        assert {item["status"] for item in found} == {"enforced"}, found
