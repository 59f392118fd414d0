"""Tracking servers that hang, are slow, answer nonsense or errors, or are not there."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

_ANSWERS = {
    "rubbish": b"\x00\xff rubbish\r\n" * 20,
    "error": b"HTTP/1.1 500 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    "busy": b"HTTP/1.1 429 Wait\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
    "elsewhere": b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "in a circle": b"HTTP/1.1 308 Go\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "forbidden": b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}
HOW = ("dead", "hanging", "slow", "dripping", "closing", "no TLS", "untrusted", "led to a hanging one", *_ANSWERS)


@contextmanager
def faulty_server(how: str) -> Iterator[str]:
    """Yield the address of a server that fails in one of the ways of `HOW`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if how != "dead":  # bound but not listening: connections are refused
            listener.listen(64)
            threading.Thread(target=_serve, args=(listener, how), daemon=True).start()
        scheme = "https" if how in ("no TLS", "untrusted") else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"


@cache
def _self_signed() -> ssl.SSLContext:
    """Return a server's side of TLS, with a certificate that nobody trusts."""
    with tempfile.TemporaryDirectory() as folder:
        files = ["-keyout", f"{folder}/key", "-out", f"{folder}/certificate"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", *files]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/certificate", f"{folder}/key")
    return context


@cache
def _hanging_port() -> int:
    """Return the port of a server that accepts and never answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    _kept.append(listener)
    return int(listener.getsockname()[1])


_kept: list[socket.socket] = []


def _serve(listener: socket.socket, how: str) -> None:
    open_connections = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        open_connections.append(connection)
        if how != "hanging":
            threading.Thread(target=_answer, args=(connection, how), daemon=True).start()


def _answer(connection: socket.socket, how: str) -> None:
    with suppress(OSError), connection:
        if how == "closing":
            return
        if how == "untrusted":
            connection = _self_signed().wrap_socket(connection, server_side=True)
        connection.recv(65536)
        if how == "slow":
            time.sleep(2)
            connection.sendall(_ANSWERS["error"])
        elif how == "led to a hanging one":
            place = f"http://127.0.0.1:{_hanging_port()}/"
            connection.sendall(f"HTTP/1.1 307 Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        elif how in ("no TLS", "untrusted"):
            connection.sendall(_ANSWERS["error"])
        elif how == "dripping":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.5)
        else:
            connection.sendall(_ANSWERS[how])


class Gateway:
    """A way to a real server that can be cut: what goes on is dropped, and connections are refused or hang.

    Parameters
    ----------
    port
        The real server's, on this host.
    """

    def __init__(self, port: int) -> None:
        self._port, self._cut = port, ""
        self._open: list[socket.socket] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: str) -> None:
        """From now on let connections hang, or close them."""
        self._cut = how
        for connection in self._open if how == "closing" else []:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut("closing")
        self._listener.close()

    def restore(self) -> None:
        """Let everything pass again."""
        self._cut = ""

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            if self._cut == "closing":
                client.close()
            elif not self._cut:
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open.append(server)
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65536):
                while self._cut == "hanging":
                    time.sleep(0.1)
                if self._cut:
                    return
                other.sendall(content)
            other.shutdown(socket.SHUT_WR)
