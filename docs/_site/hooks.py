"""Pages of the site that are made from other files, so that nothing is written twice.

The first page is README.md, and CONTRIBUTING.md and CHANGELOG.md are pages. The reference is made from the JSON Schemas
(`bayesrun.cli.schemas`), and so from the classes that parse a config. A comment
`<!-- file: conf/model/NAME.yaml -->` in a page stands for that file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bayesrun.cli.catalogue import listed
from bayesrun.cli.schemas import kinds, schema_of
from bayesrun.config.run_config import CHOSEN

ROOT = Path(__file__).parents[2]
OF_ROOT = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {name: of_root((ROOT / source).read_text(encoding="utf-8")) for name, source in OF_ROOT.items()}
    made |= {f"reference/{name}.md": text for name, text in reference().items()}
    made |= {f"schemas/{kind}.json": json.dumps(schema_of(kind), indent=1) for kind in kinds()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


# a link whose text is the file that it leads to: the site shows the page's name
_FILE_NAMED = re.compile(r"\[(?:docs/)?([\w-]+)(?:/index)?\.md\]\(")
# a block of nothing but commands, shown as such: they are read whole on a phone, too
_COMMANDS = re.compile(r"^(```)\n((?:(?:uv|pip|python|bayesrun|mlflow|make|git) .*\n)+```$)", re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in files that a comment names, and write links and code in tables as they are read on the site."""
    lines = [_with_plain_pipes(line) if line.startswith("|") else line for line in markdown.split("\n")]
    markdown = _FILE_NAMED.sub(lambda match: f"[{match[1].replace('_', ' ')}](", "\n".join(lines))
    markdown = _COMMANDS.sub(r"\1bash\n\2", markdown)
    return re.sub(r"<!-- file: (\S+) -->", lambda match: included(match[1]), markdown)


def _with_plain_pipes(row: str) -> str:
    """Leave out the backslashes that GitHub needs before pipes in code, and Python-Markdown would show."""
    return re.sub(r"(`+)(.+?)\1", lambda code: code[0].replace(r"\|", "|"), row)


def included(path: str) -> str:
    """Return a file as a block of code."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return f'```{Path(path).suffix.lstrip(".")} title="{path}"\n{text}```'


def of_root(text: str) -> str:
    """Return a page of the root with links as they are from the folder docs."""
    text = text.replace("](docs/", "](")
    for name, source in OF_ROOT.items():
        text = text.replace(f"]({source}", f"]({name}")
    return text


# ---------------------------------------------------------------- the reference

_HEADS = {"model": "Keys of a model", "data": "Keys of a data set", "sampler": "Keys of a sampler"}
_MORE = {"model": "models.md", "data": "data.md", "sampler": "samplers.md"}


def reference() -> dict[str, str]:
    """Return the pages of the reference by name."""
    pages = {kind: "\n".join(_of_kind(kind)) for kind in CHOSEN}
    return {**pages, "config": "\n".join(_of_config()), "distributions": "\n".join(_of_distributions())}


def _of_kind(kind: str) -> Iterator[str]:
    schema = schema_of(kind)
    key = CHOSEN[kind][0]
    yield f"# {_HEADS[kind]}\n"
    yield f"A file in `DIR/{kind}/`, or the section `{kind}` of a config. `{key}` decides which keys there are."
    yield f"[{_MORE[kind]}](../{_MORE[kind]}) explains them; each can be set on the command line, `{kind}.KEY=VALUE`.\n"
    for name in schema["properties"][key]["enum"]:
        of = schema["$defs"][f"{kind}.{name}"]
        yield f"## `{key}: {name}`\n\n{of['description']}\n"
        own = {each: value for each, value in of["properties"].items() if each not in ("defaults", key)}
        yield from _table(own, schema["$defs"])
        for case in of.get("allOf", []):  # parameters of a generator
            generator = case["if"]["properties"]["generator"]["const"]
            inner = _resolved(case["then"]["properties"]["parameters"], schema["$defs"])
            yield f"### `generator: {generator}`\n"
            yield from _table(inner["properties"], schema["$defs"], "parameters.")


def _of_config() -> Iterator[str]:
    schema = schema_of("config")
    yield "# Keys of a config\n"
    yield "What a run, a sweep or a task reads beside [model](model.md), [data](data.md) and [sampler](sampler.md).\n"
    sections = {name: key for name, key in schema["properties"].items() if "properties" in key and name not in CHOSEN}
    top = {name: key for name, key in schema["properties"].items() if name not in (*sections, *CHOSEN)}
    yield "## At the top\n"
    yield from _table({name: key for name, key in top.items() if name not in ("hydra", "defaults")}, schema["$defs"])
    for name, section in sections.items():
        yield f"## `{name}`\n\n{section['description']}\n"
        own = {key: value for key, value in section["properties"].items() if key != "defaults"}
        yield from _table(own, schema["$defs"], f"{name}.")


def _of_distributions() -> Iterator[str]:
    yield "# Distributions and families\n\n## Distributions\n"
    yield "Names for `dist`, with support and parameters ([how they are written](../language.md)).\n"
    yield "| distribution | support | parameters |\n|---|---|---|"
    for entry in listed("priors", []):
        support, _, parameters = entry.line.partition(": ")
        yield f"| `{entry.name}` | {support} | {parameters} |"
    yield "\n## Families\n\nNames for `family` of a [regression](../regression.md#families).\n"
    yield "| family | response | parameters |\n|---|---|---|"
    for entry in listed("families", []):
        response, _, parameters = entry.line.partition(": ")
        yield f"| `{entry.name}` | {response} | {parameters} |"


def _table(properties: Mapping[str, Any], defs: Mapping[str, Any], above: str = "") -> Iterator[str]:
    yield "| key | meaning | takes | default |\n|---|---|---|---|"
    yield from _rows(properties, defs, above)
    yield ""


def _rows(properties: Mapping[str, Any], defs: Mapping[str, Any], above: str) -> Iterator[str]:
    for name, key in properties.items():
        inner = _resolved(key, defs)
        if inner.get("properties") and name not in ("priors", "likelihood", "data"):
            yield from _rows(inner["properties"], defs, f"{above}{name}.")
            continue
        default = f"`{_flow(key['default'])}`" if "default" in key else ""
        cells = (f"`{above}{name}`", key.get("description", ""), _takes(key, defs), default)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _resolved(key: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section that a key holds, if it holds one."""
    for each in (key, *key.get("anyOf", []), *key.get("allOf", [])):
        name = str(each.get("$ref", "")).rpartition("/")[2]
        if name and name != "interpolation":
            found: Mapping[str, Any] = defs[name]
            return found
    return key


def _flow(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', "") if not isinstance(value, str) else value


_MOST_VALUES = 12
_WORDS = {"string": "text", "integer": "whole number", "object": "mapping", "boolean": "true, false", "array": "list"}
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def _takes(key: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return which values a key takes, in words."""
    if len(key.get("enum", ())) > _MOST_VALUES:
        return "a name"
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    if "const" in key:
        return f"`{key['const']}`"
    name = str(key.get("$ref", "")).rpartition("/")[2]
    if name:
        return "" if name == "interpolation" else "mapping"
    if "anyOf" in key:
        return ", ".join(dict.fromkeys(filter(None, (_takes(each, defs) for each in key["anyOf"]))))
    given = key.get("type", [])
    items = _takes(key["items"], defs) if isinstance(key.get("items"), Mapping) else ""
    words_of = {**_WORDS, "array": f"list of {items}" if items else "list"}
    words = ", ".join(words_of.get(each, each) for each in ([given] if isinstance(given, str) else given))
    return " ".join([words, *(f"{word} {key[bound]:,}" for bound, word in _BOUNDS.items() if bound in key)])
