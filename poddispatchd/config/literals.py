"""Values out of a Python file that is read but never executed."""

import ast
from collections.abc import Mapping
from pathlib import PurePosixPath

from msgspec import Struct, field

_CHANGING = frozenset(
    {"update", "setdefault", "pop", "popitem", "clear", "append", "extend", "insert", "remove"}
)
"""Methods after which a dictionary or a list is another one."""

_TRANSLATED = frozenset({"_", "gettext", "gettext_lazy", "ugettext", "ugettext_lazy"})
"""Functions whose value is their argument, in the language of the program."""


class UnreadableError(Exception):
    """An expression whose value only Python would know; the words say what it is."""


class Unreadable(Struct, frozen=True):
    """Stands in a dictionary for a value that could not be read, so that the others are not lost with it."""

    why: str


class Assignments(Struct):
    """What a file assigns at its top level: values, and the names whose value could not be read, with why.

    ``elsewhere`` says of which other files it takes everything: what they set, nobody knows here.
    """

    values: dict[str, object] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


def read_assignments(source: str | bytes, path: PurePosixPath) -> Assignments:
    """The simple assignments of a Python source.

    Literals, names assigned before, sums of texts and sequences, f-strings, ``os.path`` and ``Path`` on
    ``__file__`` and translated texts have values; everything else, and whatever stands under a condition,
    is unreadable. One item of a dictionary that is unreadable does not spoil the others: it is
    ``Unreadable``.

    Args:
        source: the text of the file; its bytes may begin with a mark, or name their encoding, as for Python.
        path: its absolute path, for ``__file__``.

    Raises:
        SyntaxError: it is no Python.
        RecursionError: it is nested too deeply.
    """
    found = Assignments({"__file__": str(path)})
    for statement in ast.parse(source).body:
        _take(found, statement)
    del found.values["__file__"]
    return found


def _take(found: Assignments, statement: ast.stmt) -> None:
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                _assign(found, target, value)
        case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
            _assign(found, target, value)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return
        case _:
            for inner in ast.walk(statement):
                _change(found, inner)


def _change(found: Assignments, node: ast.AST) -> None:
    """Take note that something is set, or may be, in a way that is not followed."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            _give_up(found, name, f"line {node.lineno} sets it under a condition or changes it")
        case ast.ImportFrom(names=names):
            module = "." * node.level + (node.module or "")
            for alias in names:
                if alias.name == "*":
                    found.elsewhere.append(f"line {node.lineno} takes everything of {module}")
                else:
                    name = alias.asname or alias.name
                    _give_up(found, name, f"line {node.lineno} takes it from {module}")
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            _put(found, node, Unreadable(f"line {node.lineno} sets it under a condition or changes it"))
        case ast.Call(func=ast.Attribute(value=ast.Name() | ast.Subscript() as changed, attr=method)):
            name = _root(changed)
            if method in _CHANGING and isinstance(found.values.get(name), (dict, list)):
                _give_up(found, name, f"line {node.lineno} changes it with {method}()")


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _assign(found: Assignments, target: ast.expr, value: ast.expr) -> None:
    match target:
        case ast.Name(id=name):
            try:
                found.values[name] = _value(value, found.values)
                found.unreadable.pop(name, None)
            except UnreadableError as error:
                _give_up(found, name, f"line {value.lineno}: {error}")
        case ast.Subscript():
            _put(found, target, _or_unreadable(value, found.values))
        case ast.Tuple() | ast.List():
            for inner in ast.walk(target):
                _change(found, inner)


def _put(found: Assignments, target: ast.Subscript, value: object) -> None:
    """Set one item, however deep it lies; what cannot be followed spoils the whole."""
    name, keys = _root(target), list[object]()
    node: ast.expr = target
    try:
        while isinstance(node, ast.Subscript):
            keys.insert(0, _hashable(_value(node.slice, found.values)))
            node = node.value
        found.values[name] = _with(found.values.get(name), keys, value)
    except UnreadableError:
        if name in found.values:
            _give_up(found, name, f"line {target.lineno} changes it")


def _with(container: object, keys: list[object], value: object) -> object:
    if not keys:
        return value
    if not isinstance(container, dict):
        raise UnreadableError("it is no dictionary")
    return {**container, keys[0]: _with(container.get(keys[0]), keys[1:], value)}


def _give_up(found: Assignments, name: str, why: str) -> None:
    found.values.pop(name, None)
    found.unreadable[name] = why


def _value(node: ast.expr, known: Mapping[str, object]) -> object:  # noqa: C901, PLR0912 - a table of forms
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if name in known:
                return known[name]
            raise UnreadableError(f"{name} is not known here")
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, known) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _hashable(_value(key, known)): _or_unreadable(value, known)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = _value(operand, known)
            if isinstance(number, (int, float)):
                return -number
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, known)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_value(left, known), operator, _value(right, known))
        case ast.JoinedStr(values=parts):
            return "".join(str(_value(part, known)) for part in parts)
        case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
            return _value(inner, known)
        case ast.Subscript(value=container, slice=key):
            return _item(_value(container, known), _value(key, known))
        case ast.Attribute(value=inner, attr="parent"):
            return str(PurePosixPath(_text(_value(inner, known))).parent)
        case ast.Call(func=function, args=arguments, keywords=[]):
            return _call(function, arguments, known)
    raise UnreadableError(f"'{ast.unparse(node)[:60]}' would have to be executed")


def _or_unreadable(node: ast.expr, known: Mapping[str, object]) -> object:
    try:
        return _value(node, known)
    except UnreadableError as error:
        return Unreadable(f"line {node.lineno}: {error}")


def _hashable(value: object) -> object:
    if isinstance(value, (list, dict, Unreadable)):
        raise UnreadableError("a key of a dictionary is no simple value")
    return value


def _item(container: object, key: object) -> object:
    try:
        if isinstance(container, dict):
            item = container[_hashable(key)]
            if isinstance(item, Unreadable):
                raise UnreadableError(item.why)
            return item
        if isinstance(container, (list, str)) and isinstance(key, int):
            return container[key]
    except (KeyError, IndexError):
        pass
    raise UnreadableError(f"it has no item {key!r}")


def _combined(left: object, operator: ast.operator, right: object) -> object:
    match operator:
        case ast.Add() if isinstance(left, str) and isinstance(right, str):
            return left + right
        case ast.Add() if isinstance(left, list) and isinstance(right, list):
            return left + right
        case ast.Add() | ast.Mult() if isinstance(left, int) and isinstance(right, int):
            # Texts are not multiplied: one line could ask for all memory.
            return left + right if isinstance(operator, ast.Add) else left * right
        case ast.Div() if isinstance(left, str) and isinstance(right, str):
            return str(PurePosixPath(left) / right)
    raise UnreadableError("a calculation would have to be executed")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise UnreadableError("a path was expected")


def _call(function: ast.expr, arguments: list[ast.expr], known: Mapping[str, object]) -> object:
    name = ast.unparse(function)
    if name in ("os.environ.get", "os.getenv", "environ.get", "getenv", "config", "env"):
        raise UnreadableError("it comes from the environment")
    if isinstance(function, ast.Attribute) and function.attr in ("resolve", "absolute") and not arguments:
        return _value(function.value, known)
    if name in ("str", "Path", "pathlib.Path", "os.path.abspath", "os.path.realpath") and len(arguments) == 1:
        return _text(_value(arguments[0], known))
    if name == "os.path.dirname" and len(arguments) == 1:
        return str(PurePosixPath(_text(_value(arguments[0], known))).parent)
    if name == "os.path.join" and arguments:
        return str(PurePosixPath(*(_text(_value(argument, known)) for argument in arguments)))
    if name in _TRANSLATED and len(arguments) == 1:
        return _value(arguments[0], known)
    raise UnreadableError(f"{name}(…) would have to be executed")
