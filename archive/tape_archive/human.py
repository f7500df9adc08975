"""Sizes, times and durations as people read them, and times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

from tape_archive.format.errors import SettingsError


def size(count: int) -> str:
    """Bytes: 417 B, 12.3 KiB, 4.0 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def moment(ns: int) -> str:
    """Unix ns as UTC to the second; a dash for none."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ns else "-" * 19


def duration(ns: int) -> str:
    """12 ms, 3.4 s, 5m 10s, 2h 30m, 3d 4h."""
    seconds = ns / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"


def parse_time(text: str) -> int:
    """Epoch seconds, milliseconds or nanoseconds, or ISO-8601 (UTC if it names no zone) as unix ns. Raises SettingsError."""
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        pass
    else:
        for scale, most in ((1_000_000_000, 1e11), (1_000_000, 1e14), (1_000, 1e17), (1, 1e20)):
            if abs(value) < most:
                return int(text) * scale if text.isdecimal() else round(value * scale)
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise SettingsError(f"{text!r} is no time; give epoch seconds or 2026-01-31T12:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000) * 1000
