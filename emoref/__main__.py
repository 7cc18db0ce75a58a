"""``python -m emoref`` is the same as ``emoref``."""

from emoref.cli import main

main()
