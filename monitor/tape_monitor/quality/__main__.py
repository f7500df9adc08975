"""``python -m tape_monitor.quality``."""

from __future__ import annotations

from tape_monitor.quality.command import main

if __name__ == "__main__":
    main()
