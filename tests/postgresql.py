"""A PostgreSQL on 127.0.0.1 for tests: Debian's package, installed where there is none, stopped afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "s3cret-w0rd"


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a new server that asks for a password (user `me`), by a user that is not root; yields `host:port`."""
    programs, port = binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="bayesrun-pg-"))
    (folder / "password").write_text(PASSWORD)
    run = _runner(programs, folder)
    cluster = ["-D", str(folder / "cluster")]
    login = ["-U", "me", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
    run("initdb", *cluster, *login, "-N", "-E", "UTF8")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        run("pg_ctl", "start", "-w", *cluster, "-l", str(folder / "log"), "-o", options)
        yield f"127.0.0.1:{port}"
    finally:
        if (folder / "cluster" / "postmaster.pid").exists():
            run("pg_ctl", "stop", "-w", "-m", "fast", *cluster)
        shutil.rmtree(folder)


def binaries() -> Path:
    """Find the newest server's programs, installed with apt-get where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: starts no service
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", "-q", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("NOT TESTED: no PostgreSQL, and apt-get (as root) is not available to install it")
    return found[-1].parent


def free_port() -> int:
    """Find a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _runner(programs: Path, folder: Path) -> Callable[..., None]:
    root = os.geteuid() == 0
    if root:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")

    def run(*command: str) -> None:
        arguments = [str(programs / command[0]), *command[1:]]
        # Popen would start in our folder, which that user may not enter; a pipe would wait for the server's end
        user = "postgres" if root else None
        subprocess.run(arguments, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    return run
