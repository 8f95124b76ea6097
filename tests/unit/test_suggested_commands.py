"""What messages tell people to type can be typed as it is printed."""

import re

from tests.unit.sources import of_the_product

_GROUPS = "tasks|runners|queues|failures|events|config|campaigns|db"
_ACTIONS = "list|show|restart|cancel|resume|pause|test|retry|dismiss|import|setup|install-trigger"
_CUT = re.compile(rf"['\"](?:{_GROUPS}) (?:{_ACTIONS})\b")
_WITH_IT = re.compile(r"(?:typed_command|_command)\(\s*$")


def test_no_message_leaves_out_the_name_of_the_program() -> None:
    """ "gets no new tasks until 'runners resume'": copied to a shell, that is "command not found"."""
    cut = [
        f"{source.name}: {found[0]}"
        for source in of_the_product()
        for found in _CUT.finditer(source.text)
        if _WITH_IT.search(source.text, max(0, found.start() - 60), found.start()) is None
    ]

    assert cut == []
