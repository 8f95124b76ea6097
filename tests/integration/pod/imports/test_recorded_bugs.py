"""No known bug of the recorded Pod is taken over, and no deviation is left without a case."""

from poddispatchd.domain.task import SUBMITTABLE
from tests.integration.pod.imports import (
    test_recorded_encodings,
    test_recorded_studios,
    test_recorded_transcriptions,
)
from tests.integration.pod.imports.vectors import cases, load

_DEVIATIONS = {
    name
    for module in (test_recorded_encodings, test_recorded_studios, test_recorded_transcriptions)
    for name in module.DEVIATIONS
}

_OF_THE_MAIL = {"enc-lang-fr-odd-title"}
"""A bug that rows and files do not show."""


def test_every_known_bug_has_a_better_behaviour_here() -> None:
    names = [name for kind in SUBMITTABLE for name in cases(kind)]
    bugs = {name.partition("/")[0] for name in names if load(name).get("upstream_bug")}
    assert bugs - {name.partition("/")[0] for name in _DEVIATIONS} == (_OF_THE_MAIL if names else set())


def test_every_deviation_is_of_a_case() -> None:
    names = {name for kind in SUBMITTABLE for name in cases(kind)}
    known = names | {name.partition("/")[0] for name in names}
    assert not names or {name.removesuffix(" again") for name in _DEVIATIONS} <= known
