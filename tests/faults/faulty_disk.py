"""A disk that fills up, turns read-only or fails at a chosen moment, and one that loses power.

A small library is loaded before the C library (`faulty_disk.c`). From the moment when `fail` is called, system calls
that change something below a folder are answered as such a disk answers them. It also keeps what each file held at its
last sync: `cut_power` puts that back, and drops what was never synced, in one of the ways in which file systems do so.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO}


@cache
def _library() -> Path:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    library = Path(mkdtemp(prefix="faulty-disk-")) / "faulty_disk.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class FaultyDisk:
    """The disk below a folder.

    Parameters
    ----------
    folder
        Where a command writes.
    notes
        A folder of the same file system, for what survives.
    """

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder, self._synced, self._control = folder, notes / "synced", notes / "control"
        self._synced.mkdir(parents=True)
        self._set(0)

    def environment(self) -> dict[str, str]:
        """Return the variables that put a command on this disk."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAULTY_FOLDER": str(self.folder),
            "FAULTY_CONTROL": str(self._control),
            "FAULTY_SYNCED": str(self._synced),
        }

    def fail(self, how: str) -> None:
        """Let the disk be `full`, `read-only` or `failing` from now on."""
        self._set(ERRORS[how])

    def repair(self) -> None:
        """Let it be well again."""
        self._set(0)

    def _set(self, error: int) -> None:
        with self._control.open("r+b" if self._control.exists() else "w+b") as file:
            file.write(error.to_bytes(4, "little"))

    def cut_power(self, chance: random.Random) -> list[str]:
        """Leave of each file what was synced; return the names of those that were not, and what became of them.

        A name that a folder got or lost since its own last sync is as it is now, or as it was then.
        """
        lost = self._undo_names(self.folder, chance)
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            kept = self._synced / f"{path.stat().st_ino}.data"
            link = kept.with_suffix(".link")
            if kept.exists() and link.exists() and link.samefile(path):
                content = kept.read_bytes()
            else:
                how = chance.choice(("removed", "empty", "torn"))
                lost.append(f"{path.name} {how}")
                if how == "removed":
                    path.unlink()
                    continue
                content = path.read_bytes()[: path.stat().st_size // 2 if how == "torn" else 0]
            path.write_bytes(content)
        return lost

    def _undo_names(self, folder: Path, chance: random.Random) -> list[str]:
        """Undo some of the changes of names that were not synced, here and below; return them in words."""
        now = {path.name: path.stat().st_ino for path in folder.iterdir()}
        then, lost = self._names_at_last_sync(folder), list[str]()
        for name in sorted({*now, *then}):
            path, link = folder / name, self._synced / f"{then.get(name)}.link"
            stays = now.get(name) == then.get(name) or (name in then and not link.exists()) or chance.random() < 0.5
            if stays:
                lost += self._undo_names(path, chance) if path.is_dir() else []
                continue
            lost.append(f"the name {name} undone")
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if link.exists():
                path.hardlink_to(link)
        return lost

    def _names_at_last_sync(self, folder: Path) -> dict[str, int]:
        """Return the names in a folder at its last sync, and the numbers of their inodes; none without a sync."""
        with suppress(FileNotFoundError):
            lines = (self._synced / f"{folder.stat().st_ino}.names").read_text().splitlines()
            return {name: int(number) for number, _, name in (line.partition(" ") for line in lines)}
        return {}
