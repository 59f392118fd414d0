"""The process that a sweep's tracking processes fork from: `python -m bayesrun.tracking._server LISTENER`.

Importing MLflow takes two seconds of processor time: once for all workers of a sweep instead of once for each. Every
process that connects gets a process of its own, which has the imports and nothing else: connections to databases must
not be carried into another process.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress

from bayesrun.processes import collect_rarely
from bayesrun.tracking._channel import SERVER, start_module
from bayesrun.tracking._imports import import_mlflow
from bayesrun.tracking._worker import serve, settle_in


def share(timeout: float) -> None:
    """Let this process and the ones it starts from now on use one server; it ends with this process.

    Parameters
    ----------
    timeout
        Seconds for one call of a tracking server.
    """
    if SERVER in os.environ or not hasattr(socket, "SO_PEERCRED"):
        return
    folder = tempfile.mkdtemp(prefix="bayesrun-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = f"{folder}/tracking"
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):  # a path too long for a socket: none is shared
        listener.bind(address)
        listener.listen(128)  # who connects before the server has imported waits in here
        number = listener.fileno()
        server = start_module(
            __name__, str(number), timeout=timeout, pass_fds=[number], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        os.environ[SERVER] = address
        atexit.register(_end, server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Let the server see that nobody needs it; the processes that it forked go on until they are done."""
    os.environ.pop(SERVER, None)
    assert server.stdin
    server.stdin.close()
    server.returncode = 0  # or Popen complains that it still runs


def main() -> None:
    """Fork a process for each that connects, until standard input ends."""
    collect_rarely()
    settle_in()
    import_mlflow(database=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    listener = socket.socket(fileno=int(sys.argv[1]))
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        _fork(listener)
    os._exit(0)


def _fork(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        os.close(sys.stdin.fileno())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        serve(connection.fileno(), connection.fileno(), _peer(connection))
    connection.close()


def _peer(connection: socket.socket) -> int:
    """Return the process that connected."""
    form = "3i"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    return int(struct.unpack(form, credentials)[0])


if __name__ == "__main__":
    main()
