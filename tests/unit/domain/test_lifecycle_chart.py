from pathlib import Path

from poddispatchd.domain.lifecycle_chart import text

_DOCUMENT = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_document_is_what_the_code_says() -> None:
    assert text() == _DOCUMENT.read_text(encoding="utf-8"), (
        "write it anew: python -m poddispatchd.domain.lifecycle_chart > docs/lifecycle.md"
    )
