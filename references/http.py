"""The page about the two listeners."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import get_args, get_type_hints

from msgspec import Struct
from msgspec.structs import fields

import poddispatchd.callbacks
import poddispatchd.web
from poddispatchd.config.listeners import OpsSettings, WebhookSettings
from poddispatchd.domain import callback
from poddispatchd.errors import CallbackRefusedError
from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.ops import ops_application
from poddispatchd.web.state import DaemonState
from references.markdown import code, prose, table


def page() -> str:
    """Paths, answers, and the fields of the state."""
    webhook, ops = WebhookSettings(), OpsSettings()
    answers = [("200", "The callback is recorded."), *sorted(set(_refusals()))]
    return "".join(
        [
            "# HTTP API\n\n## The webhook\n\n",
            f"`POST http://{webhook.listen}{webhook.path}` (`webhook.listen`, `webhook.path`), with "
            "`Authorization: Bearer` and the token of a runner manager. The body is Esup-Runner's: JSON with "
            "`task_id`, `status` and what else its records have. Any other path is answered 404.\n\n",
            table(("status", "answer"), answers),
            "\nAn answer with 429 or 503 says in `Retry-After` after how many seconds to call again.\n",
            f"\n## The private listener\n\n`http://{ops.listen}` (`ops.listen`). It changes nothing.\n\n",
            table(("path", "answers"), _routes()),
            "\n## The state: /api/status\n\nJSON. `null` is what is not known. ",
            "Fields may be added in any release.\n\n",
            table(("field", "type"), _fields(DaemonState, "")),
        ]
    )


def _routes() -> Iterator[tuple[str, str]]:
    application = ops_application(Metrics(), lambda: None, list, waiting=str)
    for route in application.router.routes():
        if route.method == "GET" and route.resource is not None:
            yield code(route.resource.canonical), prose(inspect.getdoc(route.handler) or "")


def _refusals() -> Iterator[tuple[str, str]]:
    """The status and the words of every refusal, as the code raises it."""
    for module in (*_modules(poddispatchd.web), *_modules(poddispatchd.callbacks), callback):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == CallbackRefusedError.__name__
            ):
                status, words = node.args
                assert isinstance(words, ast.Constant)
                yield str(_value(status, module)), prose(str(words.value))


def _value(node: ast.expr, module: ModuleType) -> object:
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    assert isinstance(node, ast.Constant)
    return node.value


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _fields(model: type[Struct], at: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(model)
    for field in fields(model):
        annotation = hints[field.name]
        parts = (annotation, *get_args(annotation))
        inner = [part for part in parts if isinstance(part, type) and issubclass(part, Struct)]
        many = "[]" if getattr(annotation, "__origin__", None) is tuple else ""
        name = f"{at}{field.name}{many}"
        yield code(name), code(_words(annotation))
        for part in inner:
            yield from _fields(part, f"{name}.")


def _words(annotation: object) -> str:
    """A type as readers of JSON know it."""
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    origin = getattr(annotation, "__origin__", None)
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"object of {_words(arguments[1])} by {_words(arguments[0])}"
    if arguments:
        return " or ".join(_words(part) for part in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return "object"
    plain = getattr(annotation, "__supertype__", annotation)
    if plain is type(None):
        return "null"
    kinds = ((bool, "true or false"), (int, "number"), (float, "number"))
    return next(
        (words for kind, words in kinds if isinstance(plain, type) and issubclass(plain, kind)), "text"
    )
