"""The message catalog of the journal: what ``journalctl --catalog`` adds to a line, made from the events."""

import ast
import inspect
import textwrap
import uuid
from functools import cache
from itertools import pairwise

from poddispatchd.observability import events
from poddispatchd.observability.events import Event

_NAMESPACE = uuid.UUID("0a5cb4a7-56c3-4d1c-8d49-8c2a6f0f7a55")
"""Never to be changed: whoever looks for a MESSAGE_ID has it in scripts and in old journals."""

_WIDTH = 78


@cache
def message_id(event: str) -> str:
    """The MESSAGE_ID of an event: the same in every release, as long as the event has its name."""
    return uuid.uuid5(_NAMESPACE, event).hex


@cache
def explanations() -> dict[Event, str]:
    """When each event is logged, from the texts below their names in ``events.py``."""
    # A text below a member is no docstring to Python: only the source has it.
    tree = ast.parse(inspect.getsource(events))
    [body] = [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == Event.__name__
    ]
    found: dict[Event, str] = {}
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[Event[statement.targets[0].id]] = " ".join(str(following.value.value).split())
    return found


def catalog() -> str:
    """The text of ``poddispatchd.catalog``."""
    head = "# Made from the events of poddispatchd. See journalctl(1), --catalog.\n"
    entries = [
        f"-- {message_id(event)}\n"
        f"Subject: {event}\n"
        "Defined-By: poddispatchd\n"
        "Documentation: man:poddispatchd(8)\n\n"
        f"{textwrap.fill(words.replace('``', ''), _WIDTH, break_on_hyphens=False)}\n"
        for event, words in explanations().items()
    ]
    return "\n".join([head, *entries])
