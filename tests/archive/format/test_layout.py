"""Names from the network never leave their folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import SettingsError
from tape_archive.format.layout import csv_path, element, name_of, segment_path, segments

HOSTILE = ["..", ".", "", "../../etc/passwd", "a/b", "\0", "%2e", "币安人生USDT", "x" * 5000, ".hidden", "a\nb", "~", "%"]


@given(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=60)))
def test_a_name_becomes_one_safe_element_and_comes_back(name: str) -> None:
    text = element(name)
    assert "/" not in text and "\0" not in text and text not in ("", ".", "..") and not text.startswith(".") and len(text) <= 200
    if "~" not in text:
        assert name_of(text) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_names_never_meet(one: str, other: str) -> None:
    assert (element(one) == element(other)) == (one == other)


def test_segments_come_back_in_order(tmp_path: Path) -> None:
    hour = 3_600_000_000_000
    keys = [("binance_spot", "spot", hour * 24 * 5, 0), ("binance_spot", "spot", hour * 24 * 5, 1), ("../evil", "币", hour * 9, 0)]
    for venue, stream, t, turn in reversed(keys):
        path = segment_path(tmp_path, venue, stream, t + 5, turn)
        assert tmp_path in path.resolve().parents
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [(s.venue, s.stream, s.hour, s.turn) for s in segments(tmp_path)] == sorted(keys)
    assert len(segments(tmp_path, "binance_spot")) == 2


@pytest.mark.parametrize(
    ("split", "name"),
    [(0, "cex.csv"), (24, "cex_20260110.csv"), (12, "cex_20260110_12.csv"), (6, "cex_20260110_18.csv"), (1, "cex_20260110_21.csv")],
)
def test_csv_names_are_those_of_the_brief(split: int, name: str) -> None:
    t = 1768080000 * 10**9 + 2 * 60 * 10**9  # 2026-01-10 21:22 UTC
    assert csv_path(Path("logs/cex.csv"), split, t).name == name
    with pytest.raises(SettingsError, match="expected 0, 1, 6, 12 or 24"):
        csv_path(Path("logs/cex.csv"), 5, t)


@pytest.mark.parametrize(
    "path",
    ["2026-99-99/05.jsonl", "abcd-ef-gh/05.jsonl.zst", "2026-01-01/77.jsonl.zst", "2026-01-01/_manifest.jsonl", "2026-01-01/x.jsonl.zst"],
)
def test_files_of_others_are_no_segments(tmp_path: Path, path: str) -> None:
    for stream in ("spot", "%FF"):
        file = tmp_path / "raw" / "binance_spot" / stream / path
        file.parent.mkdir(parents=True)
        file.touch()
    good = segment_path(tmp_path, "binance_spot", "spot", 10**18)
    good.parent.mkdir(parents=True)
    good.touch()
    (tmp_path / "raw" / "binance_spot" / "%FF" / good.parent.name).mkdir()
    (tmp_path / "raw" / "binance_spot" / "%FF" / good.parent.name / good.name).touch()
    assert [s.file for s in segments(tmp_path)] == [good]


def test_a_shortened_name_stays_as_it_is() -> None:
    text = element("币" * 300)
    assert "~" in text and name_of(text) == text
