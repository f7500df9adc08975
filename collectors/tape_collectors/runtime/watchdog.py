"""Quiet or dead? Judged by data frames alone, from each stream's own history.

A stream's silences are learned at one-second resolution: ``usual`` is a slowly falling maximum of the silences seen, so a stream that
speaks once a minute is given minutes, and one that speaks ten times a second is given seconds. Pure: times are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tape_collectors.venues.protocol import Stream

SECOND = 1_000_000_000
#: a dense stream must speak this soon after it was asked for
FIRST_S = 10.0
#: no stream is called dead before this much silence
LEAST_S = 10.0
#: dead: silent for so many times its longest usual silence
TIMES = 4.0
#: frames before a stream's history is believed
HISTORY = 20
_FALL = 0.999


class Silent(msgspec.Struct, frozen=True):
    """One verdict: this stream should have spoken. ``first``: it never did since it was asked for."""

    name: str
    symbol: str
    channel: str
    since_ns: int
    expected_ns: int
    first: bool


class _History(msgspec.Struct):
    frames: int = 0
    quiet_since: int = 0
    usual: float = 1.0
    verdict_t: int = 0


class Watchdog:
    """Call ``judge`` once a second with the streams of one connection."""

    def __init__(self, first_s: float = FIRST_S, least_s: float = LEAST_S) -> None:
        self.first_s = first_s
        self.least_s = least_s
        self._histories: dict[str, _History] = {}

    def judge(self, streams: Iterable[Stream], t: int) -> list[Silent]:
        """The streams that are silent longer than they may be; each is named again only after another such time."""
        out = []
        for stream in streams:
            history = self._histories.setdefault(stream.name, _History(quiet_since=t))
            if stream.frames != history.frames:
                silence = max(1.0, (t - history.quiet_since) / SECOND)
                history.usual = max(silence, history.usual * _FALL)
                history.frames, history.quiet_since = stream.frames, t
                continue
            verdict = self._verdict(stream, history, t)
            if verdict is not None and t - history.verdict_t >= verdict.expected_ns:
                history.verdict_t = t
                out.append(verdict)
        return out

    def _verdict(self, stream: Stream, history: _History, t: int) -> Silent | None:
        if not stream.frames:
            asked = stream.requested_t
            if stream.dense and asked and t - asked > self.first_s * SECOND:
                return Silent(stream.name, stream.symbol, stream.channel, asked, int(self.first_s * SECOND), True)
            return None
        if stream.frames < HISTORY or not stream.dense:
            return None
        allowed = int(max(self.least_s, TIMES * history.usual) * SECOND)
        if t - history.quiet_since > allowed:
            return Silent(stream.name, stream.symbol, stream.channel, stream.last_t, allowed, False)
        return None
