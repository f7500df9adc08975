"""``python -m tape_archive`` is ``tape``."""

from tape_archive.cli import main

main()
