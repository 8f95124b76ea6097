"""Nothing that an event says names a person, a title or a file."""

import time

import pytest

from poddispatchd.notify.event_words import public_reason


@pytest.mark.parametrize(
    ("words", "english", "french"),
    [
        (
            "The source file /srv/media/rec/Cours de Mme Dupont, partie 1.mp4 does not exist.",
            "The source file PATH does not exist.",
            "Le fichier source PATH n'existe pas.",
        ),
        ("Cancelled by dupont on pod1.", "Cancelled by PERSON.", "Annulée par PERSON."),
        (
            "ffmpeg: /srv/tmp/Cours de Mme Dupont.mp4: moov atom not found",
            "ffmpeg: PATH: moov atom not found",
            "ffmpeg: PATH: moov atom not found",
        ),
        (
            "cannot open 'Cours de Mme Dupont.mp4' for dupont@univ.example.org",
            "cannot open 'FILE' for ADDRESS",
            "cannot open 'FILE' for ADDRESS",
        ),
    ],
)
def test_names_of_files_and_people_are_told_to_nobody(words: str, english: str, french: str) -> None:
    """Of a name with a space only the ends were left out."""
    assert public_reason(words, "en") == english
    assert public_reason(words, "fr-fr") == french


def test_words_that_are_made_to_take_long_do_not() -> None:
    begun = time.process_time()
    for words in ("/a b" * 4000, "'" * 8000, "a@" * 8000, "/" + "a " * 8000):
        public_reason(words, "fr")
    assert time.process_time() - begun < 5
