"""A tree of OmegaConf's nodes as plain values for JSON, and back: equal in every value, type and flag.

A pickle would do the same, and can run code; these values can't. A class is named only if it is one of Hydra's own
parts or plug-ins, and is looked up among what is imported already. Resolved interpolations (`${now:}`) are left out:
each composition resolves its own.
"""

from __future__ import annotations

import json
import sys
import typing
from dataclasses import is_dataclass
from enum import Enum
from types import GenericAlias
from typing import Any, get_args, get_origin

from omegaconf import AnyNode, BooleanNode, DictConfig, EnumNode, FloatNode, IntegerNode, ListConfig, StringNode
from omegaconf.base import ContainerMetadata, Metadata

Plain = Any
"""What JSON holds."""

_SCALARS = (str, int, float, bool, type(None))
_VALUES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (AnyNode, StringNode, IntegerNode, FloatNode, BooleanNode)
}
_PLAIN_TYPES: dict[str, Any] = {
    "Any": Any,
    "None": None,
    **{kind.__name__: kind for kind in (dict, list, str, int, float, bool)},
}
_GENERIC: dict[str, Any] = {"dict": vars(typing)["Dict"], "list": vars(typing)["List"]}
"""The generic types that OmegaConf has: `dict[str, int]` is another one than `Dict[str, int]`."""
_OF_HYDRA = ("hydra.", "hydra_plugins.")


class NotStorable(Exception):
    """A node, or a value of one, that is not of the kinds that are stored."""


# ---------------------------------------------------------------- to plain values


def plain_of(config: DictConfig) -> Plain:
    """Return a config as plain values.

    Raises
    ------
    NotStorable
        When something in it can't be stored exactly.
    """
    plain = _node(config, None)
    if json.dumps(_node(config_of(plain), None)) != json.dumps(plain):  # not `==`, to which 1 and true are equal
        raise NotStorable("the config does not read back as it was")
    return plain


def _node(node: Any, key: Any) -> Plain:
    """Return a node: a scalar for an ordinary value, else its parts."""
    found = node._metadata
    if found.key != key or type(found.key) is not type(key) or found.flags_root:
        raise NotStorable(f"'{key}' is not an ordinary node")
    if type(node) in (DictConfig, ListConfig):
        return _container(node)
    known = {"_metadata", "_parent", "_flags_cache", "_val"}
    if type(node) is EnumNode:
        member = None if node._val is None else node._val.name if isinstance(node._val, Enum) else _scalar(node._val)
        return {"enum": _type(node.enum_type), "val": member, **_metadata(found)}
    if _VALUES.get(type(node).__name__) is not type(node) or set(node.__dict__) != known:
        raise NotStorable(f"'{key}' is of an unknown kind ({type(node).__name__})")
    value = _scalar(node._val)
    metadata = _metadata(found)
    if type(node) is AnyNode and metadata == _ORDINARY:
        return value
    return {"node": type(node).__name__, "val": value, **metadata}


def _container(node: Any) -> Plain:
    content = node._content
    if isinstance(content, dict):
        inner: Any = [[_key(name), _node(child, name)] for name, child in content.items()]
    elif isinstance(content, list):
        inner = [_node(child, index) for index, child in enumerate(content)]
    else:
        inner = _scalar(content)
    found = node._metadata
    types = {"key_type": _type(found.key_type), "element_type": _type(found.element_type)}
    return {"map" if type(node) is DictConfig else "list": inner, **types, **_metadata(found)}


def _metadata(found: Any) -> dict[str, Plain]:
    flags = dict(found.flags or {})
    if not all(isinstance(name, str) and isinstance(flag, bool) for name, flag in flags.items()):
        raise NotStorable("a flag is neither true nor false")
    return {
        "ref": _type(found.ref_type),
        "object": _type(found.object_type),
        "optional": found.optional,
        "flags": flags,
    }


def _key(key: Any) -> Plain:
    if type(key) not in (str, int, float, bool):
        raise NotStorable(f"a key is {key!r}")
    return key


def _scalar(value: Any) -> Plain:
    if type(value) not in _SCALARS or value != value:
        raise NotStorable(f"a value is {value!r}")
    return value


def _type(kind: Any) -> Plain:
    """Return the name of a type; a list of its origin and arguments for a generic one."""
    origin = get_origin(kind)
    if origin in (dict, list) and get_args(kind) and not isinstance(kind, GenericAlias):
        return [origin.__name__, *map(_type, get_args(kind))]
    for name, plain in _PLAIN_TYPES.items():
        if kind is plain:
            return name
    if isinstance(kind, type) and _imported(f"{kind.__module__}:{kind.__qualname__}") is kind:
        return f"{kind.__module__}:{kind.__qualname__}"
    raise NotStorable(f"the type of a node is {kind!r}")


def _imported(name: str) -> Any:
    """Return a class of Hydra's or of a plug-in of it, which must have been imported; None for anything else."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module) if module.startswith(_OF_HYDRA) else None
    for part in path.split("."):
        found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
    is_kind = isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum))
    return found if is_kind else None


# ---------------------------------------------------------------- and back


def config_of(plain: Plain) -> DictConfig:
    """Return the config that `plain_of` was given.

    Raises
    ------
    NotStorable
        When it names a class that is not there.
    """
    made = _made(plain, None, None)
    if not isinstance(made, DictConfig):
        raise NotStorable("it is not a mapping")
    return made


def _made(plain: Plain, key: Any, parent: Any) -> Any:
    if not isinstance(plain, dict):
        return _with_state(AnyNode, Metadata(Any, None, True, key, {}), parent, _val=plain)
    kinds = (_kind(plain["ref"]), _kind(plain["object"]), plain["optional"], key, dict(plain["flags"]))
    if "enum" in plain:
        enum, member = _kind(plain["enum"]), plain["val"]
        names = {name: constant.value for name, constant in enum.__members__.items()}
        value = enum.__members__.get(member, member)
        return _with_state(EnumNode, Metadata(*kinds), parent, _val=value, enum_type=enum, fields=names)
    if "node" in plain:
        return _with_state(_VALUES[plain["node"]], Metadata(*kinds), parent, _val=plain["val"])
    metadata = ContainerMetadata(*kinds, key_type=_kind(plain["key_type"]), element_type=_kind(plain["element_type"]))
    is_map = "map" in plain
    inner = plain["map" if is_map else "list"]
    made = _with_state(DictConfig if is_map else ListConfig, metadata, parent, _content=inner)
    if isinstance(inner, list):
        content: Any = (
            {name: _made(child, name, made) for name, child in inner}
            if is_map
            else [_made(child, index, made) for index, child in enumerate(inner)]
        )
        made.__dict__["_content"] = content
    return made


def _with_state(kind: Any, metadata: Metadata, parent: Any, **state: Any) -> Any:
    """Make a node as copying makes one: its value is not converted again."""
    made = kind.__new__(kind)
    made.__dict__.update(state, _metadata=metadata, _parent=parent, _flags_cache=None)
    return made


def _kind(plain: Plain) -> Any:
    if isinstance(plain, list):
        origin, *arguments = plain
        inner: Any = tuple(map(_kind, arguments))
        generic = _GENERIC[origin]
        return generic[inner]
    if plain in _PLAIN_TYPES:
        return _PLAIN_TYPES[plain]
    found = _imported(str(plain))
    if found is None:
        raise NotStorable(f"there is no class '{plain}'")
    return found


_ORDINARY = {"ref": "Any", "object": "None", "optional": True, "flags": {}}
"""The metadata of a value in a YAML file."""
