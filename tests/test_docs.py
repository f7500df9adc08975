"""The pages: what they link to is there, their Python is Python, and every command has its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md"]


def anchors(page: Path) -> set[str]:
    """Those of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" in path:
            continue
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), f"{page}: {path}"
        assert not anchor or anchor in anchors(to), f"{page}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_pages_is_python(page: Path) -> None:
    for block in re.findall(r"^( *)```python\n(.*?)^ *```", page.read_text(), re.M | re.S):
        code = "\n".join(line.removeprefix(block[0]) for line in block[1].splitlines())
        compile(code, str(page), "exec")


def test_every_command_of_reading_has_its_row() -> None:
    said = (ROOT / "docs" / "reference" / "commands.md").read_text()
    for name in ("sync", "mount", "unmount", "mount-status", "window", "coverage", "export freqtrade"):
        assert f"`tape {name}`" in said
