"""A YAML document with the line of every key, and its faults in words that hold nothing of its text."""

import re
from collections.abc import Iterator

import yaml
from msgspec import Struct, field

from poddispatchd.config.keys import KeyPath, names_in

_MERGE = "tag:yaml.org,2002:merge"


class DocumentFault(Struct, frozen=True):
    """Something wrong with the document itself; ``line`` counts from 1, None when nobody can tell."""

    words: str
    line: int | None = None


class Document(Struct, frozen=True):
    """What a YAML text says: its data, where each key stands, and what is wrong with it."""

    data: object = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: tuple[DocumentFault, ...] = ()


def parse_yaml(text: str) -> Document:
    """Read one YAML document; plain data only, and a key that stands twice is a fault.

    Never raises: what is wrong is in ``faults``. PyYAML's own messages quote the line they stumbled over,
    which may hold a password; here only the kind of fault and its line are told.
    """
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError:
        return Document(faults=(DocumentFault("it holds characters that YAML does not allow"),))
    try:
        root = loader.get_single_node()
        if root is None:
            return Document()
        lines: dict[KeyPath, int] = {}
        faults = tuple(_walk(root, (), lines, set()))
        return Document(loader.construct_document(root), lines, faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = f"it is not valid YAML: {_kind(error.problem or error.context or 'it cannot be read')}"
        return Document(faults=(DocumentFault(words, None if mark is None else mark.line + 1),))
    except yaml.YAMLError:
        return Document(faults=(DocumentFault("it holds characters that YAML does not allow"),))
    except (ValueError, RecursionError, OverflowError):
        # PyYAML lets these through: a date or a number that does not exist, a structure without an end.
        return Document(
            faults=(DocumentFault("it is not valid YAML: a date, a number or a structure is impossible"),)
        )
    finally:
        loader.dispose()


_TAB = "a tab stands where only spaces may: write spaces in its place"

_HARMLESS_OR_REST = re.compile(r"('(?:\\?.|<[a-z ]+>)')|b?['\"].*", re.DOTALL)


def _kind(problem: str) -> str:
    """PyYAML's words up to the first piece of the document, but for single characters and names of tokens."""
    if problem.startswith("found character '\\t'"):
        return _TAB  # an editor's; nobody sees it, and systemd shows its "\t" as "t"
    return _HARMLESS_OR_REST.sub(lambda found: found[1] or "", problem).rstrip(" :,.")


def _walk(node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int], seen: set[int]) -> Iterator[DocumentFault]:
    if not isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) or id(node) in seen:
        return
    # By identity: an alias is the very node that it names, and may be a part of itself.
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[*at, str(index)] = item.start_mark.line + 1
            yield from _walk(item, (*at, str(index)), lines, seen)
        return
    here: dict[str, int] = {}
    for key, value in node.value:
        # Merged keys may stand here as well: those here win, and that is no mistake.
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        path = (*at, str(key.value))
        line = key.start_mark.line + 1
        if key.value in here:
            yield DocumentFault(f"{names_in(path)} stands twice, first on line {here[key.value]}", line)
        else:
            here[key.value] = lines[path] = line
        yield from _walk(value, path, lines, seen)
