"""A Slurm with two nodes on this machine, for tests: Debian's packages, started as root, stopped afterwards."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")

_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MpiDefault=none
SlurmdParameters=config_overrides
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/completed.txt
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=4000
PartitionName=debug Nodes=n[1-2] Default=YES State=UP
"""


def missing() -> str:
    """Say what a Slurm on this machine lacks; empty when nothing does."""
    absent = [p for p in PROGRAMS if shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin") is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "only root can start it"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm in here; yields the environment that its commands need.

    All share munged's socket, so there is one at a time on a machine: another process's tests wait.
    """
    Path("/run/munge").mkdir(exist_ok=True)
    with Path("/run/munge/tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _started(folder) as env:
            yield env


@contextmanager
def _started(folder: Path) -> Iterator[dict[str, str]]:
    host, port = socket.gethostname().split(".")[0], _free_ports(3)
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    conf = folder / "slurm.conf"
    conf.write_text(_CONF.format(host=host, folder=folder, port=port, first=port + 1, last=port + 2))
    env = {"SLURM_CONF": str(conf), "PATH": os.environ["PATH"] + ":/usr/sbin"}
    started = [_munge(folder), *_daemons(conf, folder, env)]
    try:
        _wait_for_nodes(env)
        yield env
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(120)


def process_of(outputs: Path, job: int) -> int:
    """Find the process on this machine that runs a job of a sweep or of a task."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().decode(errors="replace").split("\0") if path.exists() else [""]
        ours = any(word.startswith(str(outputs)) and word.endswith(f".submitit/{job}") for word in words)
        if ours and "submitit.core._submit" in words and words[0].endswith("python"):
            return int(path.parent.name)
    raise AssertionError(f"job {job} does not run")


def lose_node_of(env: dict[str, str], pid: int) -> str:
    """Kill the node that runs a process as a power cut would: the daemon and all it started; return its name."""
    node = _environment_of(pid)["SLURMD_NODENAME"]
    daemon = int((Path(env["SLURM_CONF"]).parent / f"slurmd-{node}.pid").read_text())
    lost = {daemon, *_started_by(env, node)}
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all stand still first: none may report how another ended
        for victim in lost:
            os.kill(victim, number)
    return node


def _started_by(env: dict[str, str], node: str) -> set[int]:
    """Find what runs on a node: the jobs' processes, and Slurm's own that started them."""
    found = set()
    for process in psutil.process_iter():
        its = _environment_of(process.pid)
        if its.get("SLURM_CONF") == env["SLURM_CONF"] and its.get("SLURMD_NODENAME") == node:
            parents = [p for p in process.parents() if p.name() == "slurmstepd"]
            found |= {process.pid, *(p.pid for p in parents)}
    return found


def _environment_of(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _munge(folder: Path) -> subprocess.Popen[bytes]:
    user = pwd.getpwnam("munge")
    os.chown("/run/munge", user.pw_uid, user.pw_gid)
    log = (folder / "munged.log").open("wb")
    command = ["/usr/sbin/munged", "--foreground", "--force"]
    return subprocess.Popen(command, user=user.pw_uid, group=user.pw_gid, stdout=log, stderr=log)


def _daemons(conf: Path, folder: Path, env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    commands = [["slurmctld", "-D", "-c", "-f", str(conf)]]
    commands += [["slurmd", "-D", "-f", str(conf), "-N", node] for node in ("n1", "n2")]
    log = (folder / "daemons.log").open("wb")
    time.sleep(1)  # munged makes its socket
    return [subprocess.Popen(c, env={**os.environ, **env}, stdout=log, stderr=log) for c in commands]


def _wait_for_nodes(env: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%t"], env={**os.environ, **env}, capture_output=True, text=True, check=False
        )
        if shown.stdout.split() == ["idle", "idle"]:
            return
        time.sleep(0.5)
    raise RuntimeError(f"Slurm did not start: {shown.stdout}{shown.stderr}")


def _free_ports(count: int) -> int:
    """Find the first of some free ports in a row."""
    for first in range(27000, 28000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")
