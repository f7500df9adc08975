"""Where things lie: key <-> path. Names from the network never become paths as they are."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tape_archive.format.errors import SettingsError

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LONG = 200
_KEPT = 160


def element(name: str) -> str:
    """A path element for any name: the identity for ordinary ones, reversible up to 200 bytes, never leaving its folder."""
    raw = name.encode("utf-8", "surrogatepass")
    text = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) > _LONG:
        text = f"{text[:_KEPT]}~{hashlib.sha256(raw).hexdigest()[:16]}"
    return text or "%"


def name_of(text: str) -> str:
    """The name that a path element stands for. A shortened one (``~``) stays as it is."""
    if text == "%":
        return ""
    if "~" in text:
        return text
    return re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode()).decode("utf-8", "surrogatepass")


class Segment(msgspec.Struct, frozen=True, order=True):
    """One file of a raw tape. ``hour`` is the unix ns of its UTC hour; ``turn`` counts files of the same hour."""

    venue: str
    stream: str
    hour: int
    turn: int
    path: str

    @property
    def file(self) -> Path:
        """Its path."""
        return Path(self.path)


def segment_path(root: Path, venue: str, stream: str, t: int, turn: int = 0) -> Path:
    """``raw/<venue>/<stream>/<date>/<hour>.jsonl.zst``; a second file of the same hour has ``.<turn>`` behind the hour."""
    at = datetime.fromtimestamp(t // 1_000_000_000, UTC)
    hour = f"{at:%H}.{turn}" if turn else f"{at:%H}"
    return root / "raw" / element(venue) / element(stream) / f"{at:%Y-%m-%d}" / f"{hour}.jsonl.zst"


_SEGMENT = re.compile(r"^(\d\d)(?:\.(\d+))?\.jsonl(?:\.zst|\.gz)?$")


def segments(root: Path, venue: str | None = None, stream: str | None = None) -> list[Segment]:
    """The raw segments under a root, by venue, stream and time."""
    found = []
    pattern = f"{element(venue) if venue else '*'}/{element(stream) if stream else '*'}/????-??-??/*.jsonl*"
    for path in (root / "raw").glob(pattern):
        if (one := segment(path)) is not None:
            found.append(one)
    return sorted(found)


def segment(path: Path) -> Segment | None:
    """The raw segment that a path is of, by its name; None for other files."""
    match = _SEGMENT.match(path.name)
    if match is None:
        return None
    try:
        start = datetime.strptime(f"{path.parent.name} {match[1]}", "%Y-%m-%d %H").replace(tzinfo=UTC)
        names = name_of(path.parts[-4]), name_of(path.parts[-3])
    except ValueError:
        # Somebody else's file: no hour or no name of ours.
        return None
    return Segment(*names, int(start.timestamp()) * 1_000_000_000, int(match[2] or 0), str(path))


def windows(root: Path, hot: str = "real_hot", cold: str = "real_archive") -> list[Path]:
    """The files of Polymarket windows, hot and cold, by name. A window that is both (being moved) is given once, hot."""
    found: dict[str, Path] = {}
    for path in [*(root / cold).glob("????-??/*.jsonl*"), *(root / hot).glob("*.jsonl*")]:
        if not path.name.startswith(("_", ".")):
            found[path.name.partition(".jsonl")[0]] = path
    return [found[name] for name in sorted(found)]


def csv_path(base: Path, split_hours: int, t: int) -> Path:
    """The CSV file that a tick at tape time ``t`` (ns) goes to: ``cex.csv`` -> ``cex_20260110_12.csv``. Raises SettingsError."""
    at = datetime.fromtimestamp(t // 1_000_000_000, UTC)
    if split_hours == 0:
        return base
    if split_hours == 24:
        return base.with_name(f"{base.stem}_{at:%Y%m%d}{base.suffix}")
    if split_hours in (1, 6, 12):
        return base.with_name(f"{base.stem}_{at:%Y%m%d}_{at.hour // split_hours * split_hours:02d}{base.suffix}")
    raise SettingsError(f"split-hours {split_hours}: expected 0, 1, 6, 12 or 24")
