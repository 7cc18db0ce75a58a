import pytest

from emoref.errors import suggest


@pytest.mark.parametrize(
    ("word", "known", "text"),
    [
        ("relv", ["relu", "linear"], "; did you mean 'relu'?"),
        ("?", ["relu", "linear"], "; known: relu, linear"),
        ("relv", iter(["relu"]), "; did you mean 'relu'?"),
        ("x", [], "; known: "),
    ],
)
def test_suggestions(word, known, text):
    assert suggest(word, known) == text
