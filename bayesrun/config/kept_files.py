"""Merged files of a composition, kept for later ones while all that they were made of is the same.

Hydra takes 0.2 s to find and merge the files of a run. What it looked at (each config file's content, each folder's
names, and the places where there was nothing) is noted before it is read; a composition is taken again only if all of
it is as it was. Times of files are not enough: two versions of one file may have the same.

They are kept by this process, and for others in the user's cache folder, as JSON, which can't run code. Who can write
there decides what the user runs: a folder or a file that others can write to is not read. A config that holds a secret
is not written, and `BAYESRUN_CONFIG_CACHE=off` writes and reads none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from platformdirs import user_cache_path

log = logging.getLogger("bayesrun")

T = TypeVar("T")
Key = tuple[str, ...]

SWITCH = "BAYESRUN_CONFIG_CACHE"
"""Environment variable: `off` keeps nothing on the disk."""

_MOST = 8
_MOST_STORED = 64
_MOST_BYTES = 10_000_000


def state_of(path: str) -> str | None:
    """Return a digest of what is at a path, of a file's content or of the names in a folder; None for nothing."""
    try:
        if os.path.isdir(path):
            return "folder " + _digest("\0".join(sorted(os.listdir(path))).encode(errors="surrogateescape"))
        with open(path, "rb") as file:
            return "file " + _digest(file.read())
    except OSError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class KeptFiles(Generic[T]):
    """What was made of files, by key, with the places that were looked at.

    Parameters
    ----------
    plain
        Returns what was made as plain values for JSON; None where that can't be done exactly, and nothing is kept.
    read
        Makes it from them anew, so that it may be changed.
    has_secret
        Whether what was made may not be written to the disk.
    versions
        Returns what it depends on besides files and key; asked for once.

    Attributes
    ----------
    made
        How often something was made, since the last `forget`.
    """

    def __init__(
        self,
        plain: Callable[[T], Any],
        read: Callable[[Any], T],
        has_secret: Callable[[T], bool],
        versions: Callable[[], Mapping[str, str]],
    ) -> None:
        self._plain, self._read, self._has_secret, self._versions = plain, read, has_secret, versions
        self._kept: dict[Key, tuple[Any, Mapping[str, str | None]]] = {}
        self._as_they_were: dict[Key, Any] = {}
        self.made = 0

    def forget(self) -> None:
        """Keep nothing in this process of what was made so far."""
        self._kept.clear()
        self._as_they_were.clear()
        self.made = 0

    def get(self, key: Key, make: Callable[[], T], looked_at: Mapping[str, str | None]) -> T:
        """Return what is kept, or what is made now.

        Parameters
        ----------
        key
            What it depends on besides files.
        make
            Makes it.
        looked_at
            Grows while it is made: places, and what was there.
        """
        found = self._kept.pop(key, None)
        if found is None or not _is_as_it_was(found[1]):
            found = self._stored(key)
        if found is None:
            made = make()
            self.made += 1
            plain = self._plain(made)
            if plain is None:
                return made
            found = plain, dict(looked_at)
            if not self._has_secret(made):
                self._store(key, *found)
        self._kept[key] = found
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        return self._read(found[0])

    def get_as_it_was(self, key: Key, make: Callable[[], T], looked_at: Mapping[str, str | None]) -> T:
        """Return what this process has had before, whatever has become of the files since; else as `get`."""
        if key not in self._as_they_were:
            made = self.get(key, make, looked_at)
            if key not in self._kept:
                return made
            self._as_they_were[key] = self._kept[key][0]
        return self._read(self._as_they_were[key])

    # ------------------------------------------------------------ on the disk

    def _stored(self, key: Key) -> tuple[Any, Mapping[str, str | None]] | None:
        """Return what the disk has, if all of it is as it was; None in any doubt."""
        folder = _folder()
        if folder is None:
            return None
        try:
            stored = json.loads(_own_text(folder / self._name(key)))
            plain, looked_at = stored["plain"], dict(stored["looked_at"])
            if stored["key"] != list(key) or stored["versions"] != dict(self._versions()):
                return None
            if not looked_at or not _is_as_it_was(looked_at):
                return None
            self._read(plain)
            return plain, looked_at
        except FileNotFoundError:
            return None
        except Exception:  # broken, or of somebody else: it is made anew
            log.debug("a kept config can't be used", exc_info=True)
            return None

    def _store(self, key: Key, plain: Any, looked_at: Mapping[str, str | None]) -> None:
        folder = _folder(make=True)
        if folder is None:
            return
        content = {"key": list(key), "versions": dict(self._versions()), "looked_at": looked_at, "plain": plain}
        temporary = folder / f".{uuid.uuid4().hex}"
        try:
            number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(number, "w", encoding="utf-8") as file:
                body = json.dumps(content)
                file.write(f"{_digest(body.encode())}\n{body}")
            os.replace(temporary, folder / self._name(key))
            _forget_oldest(folder)
        except (OSError, ValueError):  # a full disk
            log.debug("a config can't be kept", exc_info=True)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _name(self, key: Key) -> str:
        return _digest(json.dumps([list(key), dict(self._versions())]).encode()) + ".json"


def _is_as_it_was(looked_at: Mapping[str, str | None]) -> bool:
    return all(state_of(path) == state for path, state in looked_at.items())


def _folder(make: bool = False) -> Path | None:
    """Return the folder of kept configs; None where there is none, or others can write to it."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "false", "no"):
        return None
    folder = user_cache_path("bayesrun", appauthor=False) / "configs"
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if is_own else None


def _own_text(path: Path) -> str:
    """Return the content of a file that nobody else can read or write, as it was written.

    Raises
    ------
    OSError, ValueError
        When it is not such a file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{path} is not a file of this user's alone")
        digest, _, body = file.read(_MOST_BYTES).partition("\n")
    if digest != _digest(body.encode()):
        raise ValueError(f"{path} is not as it was written")
    return body


def _forget_oldest(folder: Path) -> None:
    """Remove the files that were written first, so that the folder does not grow."""
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[_MOST_STORED:]:
        path.unlink(missing_ok=True)
