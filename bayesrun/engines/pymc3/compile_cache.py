"""Theano's compile cache: only the user's own is used, and no module is loaded that is not whole.

What is compiled is loaded into the process: a module of somebody else would run their code, and one that a power cut
or a full disk has cut short would end the process with a signal. So the cache must belong to the user, and beside each
module `NAME.so` stands `NAME.so.sha256`, the digest of its content when it was made. A module that does not fit is
compiled again. This module imports nothing of Theano, which loads modules as soon as it is imported.
"""

from __future__ import annotations

import configparser
import hashlib
import logging
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from bayesrun.errors import fail

log = logging.getLogger("bayesrun.theano")

_FLAGS = "THEANO_FLAGS"
_OF_THEANO = ("cutils_ext", "lazylinker_ext", "scan_perform")
"""Folders of the modules that Theano compiles for itself and loads when it is imported."""
_IN_THE_MAKING_SECONDS = 600
_CHUNK = 1 << 20


def is_whole(module: Path) -> bool:
    """Say whether a module is as it was made."""
    try:
        return _digest_file(module).read_text() == _digest(module)
    except OSError:
        return False


def seal(module: Path) -> None:
    """Note the content of a module that was just made."""
    digest = _digest_file(module)
    temporary = digest.with_name(f"{digest.name}.{os.getpid()}")
    temporary.write_text(_digest(module))
    os.replace(temporary, digest)


def _digest_file(module: Path) -> Path:
    return module.with_name(f"{module.name}.sha256")


def _digest(module: Path) -> str:
    digest = hashlib.sha256()
    with module.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def prepare_cache() -> None:
    """Before Theano is imported: choose a cache of the user's own, and remove what is broken of Theano's own modules.

    Raises
    ------
    UserError
        When no cache belongs to the user.
    """
    base = _own_base()
    for module in _modules_of_theano(base):
        with suppress(OSError):
            if is_whole(module):
                continue
            if _digest_file(module).exists():
                log.warning("%s is broken: it is compiled again", module)
            elif time.time() - module.stat().st_mtime < _IN_THE_MAKING_SECONDS:
                continue  # another process is about to note its content
            shutil.rmtree(module.parent)


def seal_cache(compiledir: Path) -> None:
    """When the process ends: note the content of the modules that Theano made for itself."""
    for module in _modules_of_theano(compiledir.parent):
        if module.parent.parent == compiledir and not _digest_file(module).exists():
            with suppress(OSError):  # a disk that is full: they are compiled again
                seal(module)


def _modules_of_theano(base: Path) -> list[Path]:
    return [path for name in _OF_THEANO for path in base.glob(f"*/{name}/*.so")]


def _own_base() -> Path:
    """Return the folder of compile caches; where it is another user's, the default takes its place."""
    one = _configured("compiledir")
    base = Path(one or _configured("base_compiledir") or Path.home() / ".theano").expanduser()
    reason = _not_own(base)
    if reason is None:
        return base.parent if one else base
    own = Path.home() / ".theano"
    if one or own == base or _not_own(own) is not None:
        hint = f"name a folder of your own: {_FLAGS}=base_compiledir=FOLDER"
        raise fail(_FLAGS, f"the compile cache '{base}' is not used: it {reason}", hint)
    log.warning("the compile cache '%s' is not used, since it %s: modules are compiled into '%s'", base, reason, own)
    os.environ[_FLAGS] = ",".join(part for part in (os.environ.get(_FLAGS), f"base_compiledir={own}") if part)
    return own


def _not_own(base: Path) -> str | None:
    """Say why modules of a folder may not be loaded; None where they may, or where there is none yet."""
    for path in (base, *base.glob("compiledir_*")):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"can't be read ({error.strerror})"
        if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
            return "belongs to another user"
        if found.st_mode & stat.S_IWOTH:
            return "can be written to by everybody"
    return None


def _configured(key: str) -> str | None:
    """Return a setting of Theano's as it will read it: from the environment, or from `~/.theanorc`."""
    flags = [part.partition("=") for part in os.environ.get(_FLAGS, "").split(",")]
    given = [value.strip() for name, _, value in flags if name.strip() == key]
    if given:
        return given[-1]
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        parser.read(os.path.expanduser(path) for path in os.environ.get("THEANORC", "~/.theanorc").split(os.pathsep))
    return parser.get("global", key, fallback=None)
