"""docs/reference/features.md says what the code does: every default, every field and every name of a class."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tape_collectors.market.features import cvd, divergence, fusion, ofi, regimes, zscore
from tape_collectors.market.features.ofi import BestOFI, RankDifference

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/features.md").read_text()
EXPLANATION = (ROOT / "docs/explanation/ofi.md").read_text()
MODULES = (ofi, cvd, zscore, fusion, divergence, regimes)
CLASSES = {
    name: one for module in MODULES for name, one in vars(module).items() if isinstance(one, type) and one.__module__ == module.__name__
}
SETUPS = ("DeltaSetup", "Activity", "FusionSetup", "DivergenceSetup", "RegimeSetup")


def defaults() -> dict[str, str]:
    """Of every setting: of the setups, and of constructors that take none."""
    found: dict[str, str] = {}
    for name in SETUPS:
        for field in msgspec.structs.fields(CLASSES[name]):
            if not isinstance(field.default, msgspec.Struct) and (name, field.name) != ("DeltaSetup", "activity"):
                found[f"{name}.{field.name}"] = str(field.default)
    for name in ("BestOFI", "LevelsOFI", "IntegratedOFI", "RankDifference", "CVD", "LevelZ", "Conflict"):
        for parameter in inspect.signature(CLASSES[name]).parameters.values():
            if parameter.default is not parameter.empty:
                found[f"{name}.{parameter.name}"] = str(parameter.default)
    return found


def test_every_default_is_on_the_page() -> None:
    table = dict(re.findall(r"^\| `(\w+\.\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE))
    assert table == defaults()


@pytest.mark.parametrize("name", ["Interval", "CvdPoint", "Z", "FusionPoint", "DivergenceEvent", "Labels"])
def test_every_field_is_on_the_page(name: str) -> None:
    missing = [field.name for field in msgspec.structs.fields(CLASSES[name]) if f"`{field.name}`" not in PAGE]
    assert missing == []


def test_every_class_is_on_the_page() -> None:
    internal = {"Component", "ConflictEvent"}
    assert [name for name in CLASSES if not name.startswith("_") and name not in internal and name not in PAGE] == []


def test_links_lead_somewhere() -> None:
    for page, text in (("docs/reference/features.md", PAGE), ("docs/explanation/ofi.md", EXPLANATION)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert ((ROOT / page).parent / link).resolve().exists(), link


def test_the_example_of_the_page() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    told = []
    for line in code[1].splitlines():
        statement, _, comment = line.partition("#")
        if comment:
            told.append((repr(eval(statement, names)), comment.strip().partition(":")[0]))
        else:
            exec(statement, names)
    assert told and all(found == expected for found, expected in told)


def test_the_worked_table_of_the_explanation() -> None:
    rows = re.findall(
        r"^\| (\d) \| (.*?) \|.*?\| (.*?) \| (.*?) \| (.*?) \|$", EXPLANATION.replace("*", "").replace("−", "-"), re.MULTILINE
    )
    assert len(rows) == 8
    measures: tuple[Any, ...] = (BestOFI(), BestOFI("current"), RankDifference([1.0]))
    for _, quote, *told in rows:
        numbers = [float(number) for number in re.findall(r"[\d.]+", quote)]
        found = [
            one.update(*numbers) if isinstance(one, BestOFI) else one.update([tuple(numbers[:2])], [tuple(numbers[2:])]) for one in measures
        ]
        assert found == [None if value == "none" else float(value) for value in told]
