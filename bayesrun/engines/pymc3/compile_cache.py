"""Theano's compile cache: only the user's own is used, and a module is loaded only as it was compiled.

A power cut or a full disk leaves incomplete modules, and loading one ends the process without a message. So the
SHA-256 of each module is stored beside it, and a module that does not match is compiled again. Who can write to a cache
decides what all of its users run: a cache that belongs to another user is not used.
"""

from __future__ import annotations

import atexit
import configparser
import hashlib
import logging
import os
import re
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from platformdirs import user_cache_path

from bayesrun.errors import BayesrunError

log = logging.getLogger("bayesrun.theano")

_DIGEST = "sha256"
_HELPERS = ("cutils_ext", "lazylinker_ext", "scan_perform")
_KEY = "key.pkl"
_PLACES = ("base_compiledir", "compiledir")
_ELF_HEADER = 64
_UNWRITABLE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied"
    r"|Unable to create the compiledir"
)


@contextmanager
def told_where_unwritable() -> Iterator[None]:
    """Report in one message that what is compiled in this context can't be written.

    Raises
    ------
    BayesrunError
        When the disk of the cache, or of the compiler's temporary files, is full or read-only.
    """
    try:
        yield
    except BayesrunError:
        raise
    except Exception as error:  # Theano raises the compiler's output as a plain `Exception`
        found = [_UNWRITABLE.search(str(one)) for one in (error.__context__, error) if one is not None]
        reason = next((match.group() for match in found if match), None)
        if reason is None:
            raise
        raise BayesrunError(
            f"the model can't be compiled: {reason} (Theano's compile cache {_base_folder()}, or the compiler's "
            f"temporary files in {os.environ.get('TMPDIR') or tempfile.gettempdir()})\n"
            "    free some space, or choose other places: THEANO_FLAGS=base_compiledir=FOLDER, TMPDIR=FOLDER"
        ) from error


def _base_folder() -> Path:
    settings = {**_settings_of_file(), **_settings_of_flags(os.environ.get("THEANO_FLAGS", ""))}
    return next(
        (Path(settings[name]).expanduser() for name in _PLACES if name in settings), Path("~/.theano").expanduser()
    )


def _settings_of_flags(flags: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in flags.split(",") if "=" in part)


def flags_for_own_cache(flags: str) -> dict[str, str]:
    """Return the Theano flags that move the cache to a folder of the user's own if the configured one is not.

    Parameters
    ----------
    flags
        The environment's `THEANO_FLAGS`; its settings go before those of `~/.theanorc`.
    """
    settings = {**_settings_of_file(), **_settings_of_flags(flags)}
    configured = [Path(settings[name]).expanduser() for name in _PLACES if name in settings]
    foreign = [place for place in configured or [Path("~/.theano").expanduser()] if not _is_own(place)]
    if not foreign:
        return {}
    own = user_cache_path("bayesrun", appauthor=False) / "theano"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    reason = "can't be written to, or others can write to it"
    log.warning("Theano's compile cache %s: %s; %s is used instead", foreign[0], reason, own)
    used = [name for name in _PLACES if name in settings] or ["base_compiledir"]
    return {name: str(own) for name in used}


def _settings_of_file() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError):
        parser.read(os.environ.get("THEANORC", str(Path("~/.theanorc").expanduser())).split(os.pathsep))
    return dict(parser["global"]) if parser.has_section("global") else {}


def _is_own(folder: Path) -> bool:
    """Return whether nobody else can write to a folder, or to where it would be made."""
    there = next((path for path in [folder, *folder.absolute().parents] if path.exists()), folder)
    status = there.stat()
    if there != folder:
        return os.access(there, os.W_OK) and (status.st_uid == os.getuid() or bool(status.st_mode & stat.S_ISVTX))
    return status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH


def is_whole(folder: Path) -> bool:
    """Return whether the module in a folder is as it was compiled.

    One of an earlier version has no digest: it is taken when its file is as long as its ELF header says.
    """
    try:
        (library,) = folder.glob("*.so")
        digest = folder / _DIGEST
        if digest.is_file():
            return digest.read_text() == _digest_of(library)
        if not _has_full_length(library):
            return False
    except (OSError, ValueError):
        return False
    with suppress(OSError):  # a cache that only its owner may write to
        seal(folder)
    return True


def seal(folder: Path) -> None:
    """Write the digest of the module that was compiled into a folder."""
    (library,) = folder.glob("*.so")
    (folder / _DIGEST).write_text(_digest_of(library))


def _digest_of(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()


def _has_full_length(library: Path) -> bool:
    """Return whether a file ends where its table of sections does, which linkers write last."""
    with library.open("rb") as file:
        header = file.read(_ELF_HEADER)
    if len(header) < _ELF_HEADER or header[:5] != b"\x7fELF\x02":
        return False
    (table,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    return bool(0 < table + size * count <= library.stat().st_size)


def check_modules(compile_folder: Path) -> None:
    """Remove the broken modules of Theano's own cache, which it would load unseen; it then compiles them again.

    For `engine.patches` without `content_cache`, whose modules are checked as they are loaded. What is compiled from
    here on gets its digest when the process ends: until then only a module that is too short is known to be broken.
    """
    for folder in _compiled(compile_folder):
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
    if compile_folder not in _sealed_at_exit:
        _sealed_at_exit.append(compile_folder)
        atexit.register(lambda: [is_whole(folder) for folder in _compiled(compile_folder)])


_sealed_at_exit: list[Path] = []


def _compiled(compile_folder: Path) -> list[Path]:
    """Return the folders of Theano's modules that are complete: it writes the key last."""
    return [key.parent for key in compile_folder.glob(f"*/{_KEY}")]


class _HelperGuard(MetaPathFinder):
    """Removes a broken helper module when Theano is about to import it: Theano then compiles it again."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _HELPERS and sys.path:
            folder = Path(sys.path[0]) / fullname
            if any(folder.glob("*.so")) and not is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
        return None


def guard_helpers() -> None:
    """Check the modules that Theano loads by itself, after it is imported."""
    if not any(isinstance(finder, _HelperGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HelperGuard())


def seal_helpers(compile_folder: Path, names: Iterable[str] = _HELPERS) -> None:
    """Write the digests of the helper modules that were just compiled."""
    for name in names:
        folder = compile_folder / name
        with suppress(OSError, ValueError):  # no compiler, or a cache that can't be written to
            if not (folder / _DIGEST).exists():
                seal(folder)
