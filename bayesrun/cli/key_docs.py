"""What is written about keys of the config: comments in YAML files, and docstrings of the classes of sections."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bayesrun.config.resolvers import conf
from bayesrun.schema import Section


def comments_in(path: Path) -> dict[str, str]:
    """Return the comments beside the keys of a YAML file, by dotted key."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}

    def visit(node: Any, above: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for name, value in node.value:
            key = f"{above}{name.value}"
            block = isinstance(value, yaml.CollectionNode) and not value.flow_style
            end = name.end_mark if block else value.end_mark
            rest = lines[end.line][end.column :] if end.line < len(lines) else ""
            if match := re.search(r"#\s*(.*)", rest):
                found[key] = match[1].strip()
            visit(value, f"{key}.")

    visit(yaml.compose(text, yaml.SafeLoader), "")
    return found


def comments_of_section(name: str) -> dict[str, str]:
    """Return the comments of a section's keys in the shipped files."""
    found: dict[str, str] = {}
    for path in [*sorted((conf() / name).glob("*.yaml")), conf() / "main.yaml"]:
        for key, comment in comments_in(path).items():
            own = key if path.parent.name == name or name == "top" else key.removeprefix(f"{name}.")
            if own != key or path.parent.name == name or name == "top":
                found.setdefault(own, comment)
    return found


def documented(spec: type[Section]) -> dict[str, str]:
    """Return what the docstrings of a section's class, and of those that it extends, say about each key."""
    found: dict[str, str] = {}
    for each in reversed(spec.__mro__):
        if issubclass(each, Section):
            found |= parameters_in(each.__doc__ or "")
    return found


def parameters_in(doc: str) -> dict[str, str]:
    """Return the entries of `Parameters` in a docstring, each as one line up to its first full stop."""
    part = doc.partition("----------\n")[2]
    found, names = dict[str, list[str]](), list[str]()
    for line in part.splitlines():
        if re.match(r"    \w", line):
            names = [name.strip() for name in line.split(",")]
        elif line.strip() and names:
            for name in names:
                found.setdefault(name, []).append(line.strip())
    return {name: re.split(r"(?<=\.)\s", " ".join(lines))[0].rstrip(".") for name, lines in found.items()}


def first_comment(path: Path) -> str:
    """Return the first comment of a file that is neither Hydra's nor an editor's, as one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    of_others = ("@package", "yaml-language-server:")
    comments = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#")]
    return next((comment for comment in comments if not any(each in comment for each in of_others)), "")
