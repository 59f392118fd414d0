"""Files of data: where a path leads, and what can be known of a file without reading its values."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from bayesrun.data.base import FileSpec
from bayesrun.errors import Problem

_BLOCK = 1 << 20
_LISTED = 10


def resolve(path: str, directory: Path) -> Path:
    """Return where a path of the config leads: a relative one starts from `paths.data`."""
    return directory / Path(path).expanduser()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def missing_file(path: Path, key: str) -> list[Problem]:
    """Say that a file is not there, and which one may be meant; empty when it is there."""
    if path.is_file():
        return []
    if path.is_dir():
        return [Problem(key, f"'{path}' is a folder", "name a file in it")]
    return [Problem(key, f"no file '{path}'", _nearest_file(path))]


def check_file(spec: FileSpec, directory: Path) -> list[Problem]:
    """Return what is wrong with the file of a spec: it is not there, or its digest is another.

    Parameters
    ----------
    spec
        The parsed section `data`.
    directory
        `paths.data`.
    """
    path = resolve(spec.path, directory)
    problems = missing_file(path, "data.path")
    if problems or spec.sha256 is None:
        return problems
    return _wrong_digest(path, spec.sha256)


def _wrong_digest(path: Path, expected: str) -> list[Problem]:
    found = sha256_of(path)
    if found == expected.strip().lower():
        return []
    message = f"'{path.name}' has another SHA-256: expected {expected}, got {found}"
    hint = "the file has changed: get the right one back, or set data.sha256 to the new digest (null = not checked)"
    return [Problem("data.sha256", message, hint)]


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder '{folder}'; a relative path is from paths.data"
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    there = f"in '{folder}' there is: {listed or 'no file'}; a relative path is from paths.data"
    return f"did you mean '{near[0]}'? {there}" if near else there
