"""The grammar of expressions: from text to a checked syntax tree. Everything outside the whitelist is rejected here.

Only Python's parser (`ast`) sees the text; it is never compiled or evaluated as Python. Parsing does not need
NumPy, so a config can be checked without it.
"""

from __future__ import annotations

import ast
import copy
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.language.spellings import OTHER_NAMES
from bayesrun.language.unicode_names import is_read_as_another, with_back_ticks

MAX_LENGTH = 4_000
MAX_DEPTH = 40
MAX_CHAIN = 200
MAX_NUMBER = 1e300

_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod, ast.FloorDiv, ast.USub, ast.UAdd, ast.Not, ast.And),
    *(ast.Or, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)
_NODES = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Subscript)
_INSTEAD = {
    ast.IfExp: "use where(condition, a, b)",
    ast.List: "use stack(a, b, ...)",
    ast.Attribute: (
        "there are no attributes: write a column with a dot in its name in back-ticks, `a.b`, and call functions by"
        " their bare names, such as exp(x)"
    ),
    ast.MatMult: "use dot(a, b)",
    ast.BitXor: "use ** for a power",
    ast.BitAnd: "use and",
    ast.BitOr: "use or",
    ast.Invert: "use not",
    ast.Is: "use ==",
    ast.IsNot: "use !=",
}
_WORDS = {
    ast.IfExp: "'if'",
    ast.List: "a list",
    ast.Tuple: "a tuple outside an index or a shape",
    ast.ListComp: "a comprehension",
    ast.Attribute: "an attribute",
    ast.Lambda: "'lambda'",
    ast.JoinedStr: "an f-string",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.Starred: "'*'",
    ast.NamedExpr: "':='",
}
_FIELDS = "numbers, names, + - * / ** % //, comparisons, and/or/not, indexing, slices and function calls are allowed"
_NAMES = "write a name that is not an identifier, such as one with spaces, in back-ticks: `body mass`"
_QUOTED = re.compile(r"(`[^`\n]*`)")
_SHOWN_WIDTH = 90
# `?` marks an optional argument, `...` any number of further arguments. An argument called `dim` is the name of
# a dim (or a number, counted from 0), not a value.
_SIGNATURES = """
exp(x) log(x) log1p(x) expm1(x) sqrt(x) abs(x) sign(x) sin(x) cos(x) tan(x) atan(x) tanh(x) sigmoid(x) logit(x)
probit(x) erf(x) gammaln(x) softmax(x, dim?) dot(a, b) sum(x, dim?) prod(x, dim?) mean(x, dim?) std(x, dim?)
var(x, dim?) min(x, dim?) max(x, dim?) median(x, dim?) cumsum(x, dim?) cumprod(x, dim?) where(condition, a, b)
switch(condition, a, b) clip(x, low, high) minimum(a, b, ...) maximum(a, b, ...) stack(a, b?, ...)
concatenate(a, b?, ...) zscore(x, dim?) diff(x) lag(x, steps?) arange(start, stop?, step?) zeros(shape) ones(shape)
outer(a, b) transpose(x) cholesky(x) identity(n) distance(a, b) logsumexp(x, dim?)
log10(x) cov(x, y, dim?) quantile(x, q, dim?) cummax(x, dim?) one_hot(code, n)
days(date) year(date) month(date) weekday(date) day_of_year(date) trend(x)
"""


@dataclass(frozen=True)
class Signature:
    """The signature of a function.

    Parameters
    ----------
    name
        Name of the function.
    arguments
        Names of its arguments, in order.
    required
        Number of required arguments.
    variadic
        Whether it accepts further arguments.
    """

    name: str
    arguments: tuple[str, ...]
    required: int
    variadic: bool

    def __str__(self) -> str:
        marked = [a if i < self.required else f"{a}?" for i, a in enumerate(self.arguments)]
        return f"{self.name}({', '.join([*marked, *(['...'] if self.variadic else [])])})"

    @property
    def most(self) -> int:
        """Maximum number of arguments; bounded even if further arguments are accepted."""
        return 200 if self.variadic else len(self.arguments)


def _signature(text: str) -> Signature:
    name, _, inside = text.partition("(")
    parts = [part.strip() for part in inside.split(",")]
    named = [part for part in parts if part != "..."]
    required = sum(not part.endswith("?") for part in named)
    return Signature(name.strip(), tuple(part.rstrip("?") for part in named), required, len(named) < len(parts))


SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {s.name: s for s in map(_signature, _SIGNATURES.replace("\n", " ").strip().rstrip(")").split(") "))}
)


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Parameters
    ----------
    text
        What the user wrote, on one line.
    key
        Config key that holds it.
    tree
        Its syntax tree.
    names
        Names of the values it uses (not of functions or dims it names).
    """

    text: str
    key: str
    tree: ast.expr = field(compare=False, repr=False)
    names: frozenset[str]

    @property
    def labels(self) -> frozenset[str]:
        """Names that are only compared with strings."""
        compares = [node for node in ast.walk(self.tree) if isinstance(node, ast.Compare)]
        sides = [(node.left, *node.comparators) for node in compares]
        beside = {id(s): s.id for pair in sides if any(map(is_text, pair)) for s in pair if isinstance(s, ast.Name)}
        elsewhere = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and id(n) not in beside}
        return frozenset(beside.values()) - elsewhere

    def problem(self, node: ast.AST, message: str, hint: str = "") -> Problem:
        """Make a problem that points at a node of the expression."""
        return point_at(self.text, self.key, node, message, hint)


def signatures() -> list[str]:
    """Return the signatures of all functions that an expression may call, sorted."""
    return sorted(str(signature) for signature in SIGNATURES.values())


def parse(text: str, key: str) -> Expression:
    """Parse the text of an expression and check it against the whitelist.

    Parameters
    ----------
    text
        The expression.
    key
        Config key that holds it, for messages.

    Returns
    -------
    Expression
        Its checked tree and the names it uses.

    Raises
    ------
    UserError
        With every part that is not allowed, each pointed at.
    """
    parts = _QUOTED.split(with_back_ticks(text))
    line = "".join(part if part[:1] == "`" else re.sub(r"\s+", " ", part) for part in parts).strip()
    hidden, quoted = _hidden(line, key)
    tree = _tree(line, hidden, key)
    problems = list(_faults(line, key, tree))
    if problems:
        raise UserError(problems)
    _put_back(tree, quoted, line, key)
    return Expression(line, key, tree, frozenset(_names(tree)))


def _hidden(line: str, key: str) -> tuple[str, dict[int, str]]:
    """Replace each name in back-ticks by a plain name of the same length in bytes.

    Returns
    -------
    tuple
        The text, and the replaced names by byte offset.
    """
    parts = _QUOTED.split(line)
    if "`" in "".join(parts[::2]) or "``" in parts:
        raise UserError([Problem(key, f"has an unmatched back-tick: {line[:60]!r}", "write `name`")])
    found, place = {}, 0
    for number, part in enumerate(parts):
        if number % 2:
            found[place] = part[1:-1]
            parts[number] = "q" * _bytes(part)
        place += _bytes(part)
    return "".join(parts), found


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _put_back(tree: ast.expr, quoted: Mapping[int, str], line: str, key: str) -> None:
    """Restore the names in back-ticks in their nodes."""
    left = dict(quoted)
    for node in ast.walk(tree):
        name = left.get(node.col_offset) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Name) and name is not None and _bytes(name) + 2 == len(node.id):
            node.id = left.pop(node.col_offset)
    if left:
        raise UserError([Problem(key, f"has a back-tick within a name: {line[:60]!r}", "quote the whole name: `name`")])


def text_of(node: ast.AST) -> str:
    """Return the text of a part of an expression; names that are not identifiers are in back-ticks."""
    if not any(_needs_back_ticks(part) for part in ast.walk(node)):
        return ast.unparse(node)
    made = copy.deepcopy(node)
    for part in ast.walk(made):
        if isinstance(part, ast.Name) and _needs_back_ticks(part):
            part.id = f"`{part.id}`"
    return ast.unparse(made)


def _needs_back_ticks(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and (not node.id.isidentifier() or is_read_as_another(node.id))


def single_name(text: str, key: str) -> str | None:
    """Return the name if an expression consists only of a name."""
    if text.isidentifier():
        return text
    tree = parse(text, key).tree
    return tree.id if isinstance(tree, ast.Name) else None


def _tree(line: str, hidden: str, key: str) -> ast.expr:
    if not line:
        raise UserError([Problem(key, "is empty, an expression is needed", "write a number or a formula")])
    if len(line) > MAX_LENGTH:
        message = f"has {len(line)} characters, an expression may have {MAX_LENGTH}"
        raise UserError([Problem(key, message, "split it into several deterministics")])
    if _deepest(hidden) > MAX_DEPTH:
        raise UserError([_too_deep(key)])
    return _parsed(line, hidden, key)


def _parsed(line: str, hidden: str, key: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(hidden, mode="eval").body
    except SyntaxError as error:
        start = max(0, (error.offset or 1) - 1)
        # inside {...} YAML ends a string at a comma
        hint = "quote an expression that holds a comma" if "never closed" in error.msg else _NAMES
        message = f"is not a valid expression ({error.msg})"
        problem = at_columns(line, key, min(start, len(line)), start + 1, message, hint)
        raise UserError([problem]) from None
    except (ValueError, UnicodeError):
        raise UserError(
            [Problem(key, f"contains characters that are not allowed in an expression: {line[:60]!r}")]
        ) from None
    except (RecursionError, MemoryError):
        raise UserError([_too_deep(key)]) from None
    if _depth(tree, chains=1) > MAX_DEPTH or _depth(tree, chains=0) > MAX_CHAIN:
        raise UserError([_too_deep(key)])
    return tree


def _too_deep(key: str) -> Problem:
    return Problem(key, f"is nested more than {MAX_DEPTH} deep", "split it into several deterministics")


def _deepest(line: str) -> int:
    """Return the depth of brackets and signs, counted before Python's own parser has to recurse into them."""
    depth = deepest = signs = 0
    for character in line:
        depth += (character in "([{") - (character in ")]}")
        signs = signs + 1 if character in "+-~ " else 0
        deepest = max(deepest, depth, signs)
    return max(deepest, line.count("not "), line.count("lambda"))


def _depth(tree: ast.expr, chains: int) -> int:
    """Return the depth of the tree; with `chains` a chain of operators (`a + b + c`) counts once."""
    deepest = 0
    todo: list[tuple[ast.AST, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        for child in ast.iter_child_nodes(node):
            chained = chains and isinstance(node, ast.BinOp) and child is node.left and isinstance(child, ast.BinOp)
            todo.append((child, depth if chained else depth + 1))
    return deepest


def _faults(text: str, key: str, node: ast.expr) -> Iterator[Problem]:
    """Find every part of the tree that the language does not allow."""
    if not isinstance(node, _NODES):
        yield point_at(text, key, node, f"{_word(node)} is not allowed in an expression", _instead(node))
        return
    if isinstance(node, ast.Constant):
        yield from _number_faults(text, key, node)
    elif isinstance(node, ast.Name):
        yield from _name_faults(text, key, node)
    elif isinstance(node, ast.Call):
        yield from _call_faults(text, key, node)
    elif isinstance(node, ast.Compare) and any(map(is_text, _operands(node))):
        yield from _text_faults(text, key, node)
    else:
        yield from _operator_faults(text, key, node)
        for child in _operands(node):
            yield from _faults(text, key, child)


def is_text(node: ast.expr) -> bool:
    """Return whether a node is a quoted string."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text_faults(text: str, key: str, node: ast.Compare) -> Iterator[Problem]:
    """Check a comparison with a quoted string; strings are allowed nowhere else."""
    yield from _operator_faults(text, key, node)
    others = [child for child in _operands(node) if not is_text(child)]
    if len(node.ops) > 1 or len(others) != 1:
        message = "text is compared with one column"
        yield point_at(text, key, node, message, "write group == 'a', and join comparisons with and, or")
    for other in others:
        yield from _faults(text, key, other)


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the values below a node; an index is split into its parts."""
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.Subscript) and child is node.slice:
            yield from index_values(child)
        elif isinstance(child, ast.expr):
            yield child


def index_values(index: ast.AST) -> Iterator[ast.expr]:
    """Yield the values inside an index: `a[i, 1:n]` has `i`, `1` and `n`."""
    if isinstance(index, ast.Tuple):
        for part in index.elts:
            yield from index_values(part)
    elif isinstance(index, ast.Slice):
        yield from (part for part in (index.lower, index.upper, index.step) if part is not None)
    elif isinstance(index, ast.expr):
        yield index


def _operator_faults(text: str, key: str, node: ast.expr) -> Iterator[Problem]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.operator, ast.unaryop, ast.cmpop, ast.boolop)) and not isinstance(child, _OPERATORS):
            hint = _INSTEAD.get(type(child), _FIELDS)
            yield point_at(text, key, node, f"the operator '{type(child).__name__}' is not allowed", hint)


def _number_faults(text: str, key: str, node: ast.Constant) -> Iterator[Problem]:
    value = node.value
    if not isinstance(value, (int, float)):
        hint = "text can only be compared: group == 'a'" if isinstance(value, str) else _FIELDS
        yield point_at(text, key, node, f"{value!r:.40} is not a number", hint)
    elif not -MAX_NUMBER <= value <= MAX_NUMBER:
        yield point_at(text, key, node, "this number is too large", f"numbers go up to {MAX_NUMBER:g}")


def _name_faults(text: str, key: str, node: ast.Name) -> Iterator[Problem]:
    if "__" in node.id:
        yield point_at(text, key, node, f"the name '{node.id}' is not allowed", "names have no double underscore")


def _call_faults(text: str, key: str, node: ast.Call) -> Iterator[Problem]:
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    signature = SIGNATURES.get(called)
    if signature is None:
        message = f"unknown function '{called}'" if called else "only a function's bare name can be called"
        other = OTHER_NAMES.get(called.lower())
        hint = f"{called}: here {other}" if other else did_you_mean(called, SIGNATURES)
        yield point_at(text, key, node.func, message, hint)
        return
    if node.keywords and any(k.arg != "dim" for k in node.keywords):
        yield point_at(text, key, node, "only 'dim' may be given by name", f"it is {signature}")
        return
    count = len(node.args) + len(node.keywords)
    if not signature.required <= count <= signature.most:
        yield point_at(text, key, node, f"'{called}' was given {count} arguments", f"it is {signature}")
    for name, argument in arguments(node):
        if name != "dim":
            parts = argument.elts if name == "shape" and isinstance(argument, ast.Tuple) else [argument]
            for part in parts:
                yield from _faults(text, key, part)
        elif not is_dim(argument):
            yield point_at(text, key, argument, "'dim' must be the name of a dim, or a number", f"it is {signature}")


def is_dim(node: ast.expr) -> bool:
    """Return whether a node may denote a dim, by name or number."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) is int)


def arguments(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Yield a call's arguments with their names in the function's signature; variadic arguments have none."""
    assert isinstance(node.func, ast.Name)
    names = SIGNATURES[node.func.id].arguments
    for position, argument in enumerate(node.args):
        yield (names[position] if position < len(names) else ""), argument
    yield from ((k.arg or "", k.value) for k in node.keywords)


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Call):
        for name, argument in arguments(node):
            if name != "dim":
                yield from _names(argument)
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from _names(part)
    else:
        for child in _operands(node):
            yield from _names(child)


def names_in(node: ast.expr) -> frozenset[str]:
    """Return the names of the values that a checked expression uses."""
    return frozenset(_names(node))


def _word(node: ast.expr) -> str:
    return _WORDS.get(type(node), f"this ({type(node).__name__})")


def _instead(node: ast.expr) -> str:
    return _INSTEAD.get(type(node), _FIELDS)


def point_at(text: str, key: str, node: ast.AST, message: str, hint: str = "") -> Problem:
    """Make a problem whose message shows the expression with a caret under the node."""
    start = _column(text, getattr(node, "col_offset", 0))
    stop = max(_column(text, getattr(node, "end_col_offset", None) or 0), start + 1)
    return at_columns(text, key, start, stop, message, hint)


def at_columns(text: str, key: str, start: int, stop: int, message: str, hint: str) -> Problem:
    """Make a problem whose message shows the text with carets under some of its characters."""
    first = max(0, start - _SHOWN_WIDTH // 2)
    shown = text[first : first + _SHOWN_WIDTH]
    width = max(1, min(stop - first, len(shown)) - (start - first))
    return Problem(key, f"{message}\n        {shown}\n        {' ' * (start - first)}{'^' * width}", hint)


def _column(text: str, offset: int) -> int:
    """Convert the parser's offset from UTF-8 bytes to characters."""
    return len(text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore"))
