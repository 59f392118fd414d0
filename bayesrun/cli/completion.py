"""Completion in shells: `bayesrun --shell-completion install=bash` (zsh, fish) prints what a shell asks to have.

    eval "$(bayesrun --shell-completion install=bash)"       in ~/.bashrc
    eval "$(bayesrun --shell-completion install=zsh)"        in ~/.zshrc, after compinit
    bayesrun --shell-completion install=fish | source        in ~/.config/fish/config.fish

The shell then calls `bayesrun complete LINE`. It reads the names of files and the schemas; nothing is composed or run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from bayesrun.cli.catalogue import described, kinds, listed
from bayesrun.cli.schemas import kinds as schema_kinds
from bayesrun.errors import UserError, did_you_mean, fail

_SECTIONS = ("diagnostics", "engine", "paths", "predict", "predictive", "store", "sweep", "tracking")
_WORDS = ("list", "describe", "new", "schema")
_BASH = """\
_bayesrun() {
    local line="${COMP_LINE:0:COMP_POINT}" found
    local word="${line##* }" IFS=$'\\n'
    found=$(bayesrun complete "$line" 2>/dev/null) || return
    COMPREPLY=()
    local one
    for one in $found; do
        # bash takes what follows the last = for the word
        if [[ $word == *=* ]]; then one="${one#"${word%=*}="}"; fi
        COMPREPLY+=("$one")
    done
}
complete -o nospace -o bashdefault -F _bayesrun bayesrun
"""
_ZSH = """\
_bayesrun() { compadd -S '' -- ${(f)"$(bayesrun complete "${words[1,CURRENT]}" 2>/dev/null)"} }
compdef _bayesrun bayesrun
"""
_FISH = """\
complete -c bayesrun -f -a '(bayesrun complete (commandline -cp) 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script_for(words: Sequence[str]) -> str:
    """Return the script of `install=SHELL`.

    Raises
    ------
    UserError
        When no shell is named, or another one.
    """
    named = [word.partition("=")[2] for word in words if word.startswith("install=")]
    if not named or named[-1] not in SCRIPTS:
        got = named[-1] if named else ""
        raise fail(
            "--shell-completion", f"install=SHELL names no known shell (got '{got}')", did_you_mean(got, SCRIPTS)
        )
    return SCRIPTS[named[-1]]


def completions(line: str, folders: Sequence[Path]) -> list[str]:
    """Return the words that a command line may go on with.

    Parameters
    ----------
    line
        The line up to the cursor, the name of the program first.
    folders
        Config folders: the shipped one and the user's.
    """
    words = _split(line)
    if len(words) < 2:
        return []
    word, before = words[-1], words[1:-1]
    folders = [*folders, *(Path(each.partition("=")[2]) for each in before if each.startswith("--config-dir="))]
    return sorted({each for each in _candidates(before, word, folders) if each.startswith(word)})


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is open
        words = line.split()
    return [*words, ""] if line.endswith(" ") else words


def _candidates(before: Sequence[str], word: str, folders: Sequence[Path]) -> Iterable[str]:
    if before[:1] == ["list"]:
        return kinds() if len(before) == 1 else []
    if before[:1] == ["describe"]:
        return [entry.name for kind in kinds() for entry in listed(kind, folders)] if len(before) == 1 else []
    if before[:1] == ["schema"]:
        return schema_kinds() if len(before) == 1 else []
    group, equals, _ = word.partition("=")
    if equals:
        return [f"{group}={name}" for name in _values(group, folders)]
    top = [*(f"{key}=" for key in (*_groups(folders), "task", "run")), *_keys("top", "", folders)]
    section = word.partition(".")[0]
    if "." in word:
        return _keys_below(section, before, folders)
    sections = [f"{name}." for name in (*_SECTIONS, "model", "sampler")]
    return [*top, *sections, *(_WORDS if not before else ()), "--config-dir=", "--multirun", "--help", "--version"]


def _groups(folders: Sequence[Path]) -> list[str]:
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return sorted(name for name in found - {"hydra"} if not name.startswith("."))


def _values(group: str, folders: Sequence[Path]) -> list[str]:
    if group == "task":
        return [entry.name for entry in listed("tasks", folders)]
    files = (path for folder in folders for path in (folder / group).rglob("*.yaml") if re.fullmatch(r"\w+", group))
    return [
        str(path.relative_to(next(f for f in folders if f in path.parents) / group).with_suffix("")) for path in files
    ]


def _keys_below(section: str, before: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the keys of a section; those of a model and a sampler depend on which one is chosen."""
    chosen = {each.partition("=")[0]: each.partition("=")[2] for each in before}
    name = {"model": chosen.get("model", "linear_regression"), "sampler": chosen.get("sampler", "nuts")}.get(section)
    return _keys(name or section, section, folders)


def _keys(name: str, section: str, folders: Sequence[Path]) -> list[str]:
    try:
        entries = described(name, folders)
    except UserError:
        return []
    kind = section if section in ("model", "sampler") else "section"
    keys = (key.key for entry in entries if entry.kind == kind for key in entry.keys)
    return [f"{section}.{key}=" if section else f"{key}=" for key in keys]
