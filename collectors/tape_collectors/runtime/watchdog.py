"""Quiet or dead? Judged by data frames alone, from each stream's own history.

A stream's silences are learned at one-second resolution: ``usual`` is a slowly falling maximum of the silences seen, so a stream that
speaks once a minute is given minutes, and one that speaks ten times a second is given seconds. All dense streams of a connection taken
together are judged the same way: when they fall silent at once it is the connection, long before the slowest of them is late.
Pure: times are passed in.
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
#: not judged for so long: we slept (a suspended or stopped process), and that is nobody's silence
ASLEEP_S = 5.0
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

    def spoke(self, frames: int, t: int) -> bool:
        """Take in the counter; gives whether it moved."""
        if frames == self.frames:
            return False
        silence = max(1.0, (t - self.quiet_since) / SECOND)
        self.usual = max(silence, self.usual * _FALL)
        self.frames, self.quiet_since = frames, t
        return True

    def allowed(self, least_s: float) -> int:
        """The silence that is still usual, ns."""
        return int(max(least_s, TIMES * self.usual) * SECOND)


class Watchdog:
    """Call ``judge`` once a second with the streams of one connection.

    ``all_silent`` then says whether all its dense streams together are silent for longer than they ever are.
    """

    def __init__(self, first_s: float = FIRST_S, least_s: float = LEAST_S) -> None:
        self.first_s = first_s
        self.least_s = least_s
        self.all_silent = False
        self._histories: dict[str, _History] = {}
        self._all = _History()
        self._judged_t = 0

    def judge(self, streams: Iterable[Stream], t: int) -> list[Silent]:
        """The streams that are silent longer than they may be; each is named again only after another such time."""
        asleep = t - self._judged_t if self._judged_t and t - self._judged_t > ASLEEP_S * SECOND else 0
        self._judged_t = t
        out, names, total, dense = [], set(), 0, 0
        for stream in streams:
            names.add(stream.name)
            if stream.dense and stream.frames:
                total, dense = total + stream.frames, dense + 1
            history = self._histories.setdefault(stream.name, _History(quiet_since=t))
            history.quiet_since += asleep
            if history.spoke(stream.frames, t):
                continue
            verdict = self._verdict(stream, history, t, asleep)
            if verdict is not None and t - history.verdict_t >= verdict.expected_ns:
                history.verdict_t = t
                out.append(verdict)
        for name in self._histories.keys() - names:
            del self._histories[name]
        self._judge_all(total, dense, t, asleep)
        return out

    def _judge_all(self, frames: int, dense: int, t: int, asleep: int) -> None:
        together = self._all
        together.quiet_since = together.quiet_since + asleep if together.frames else t
        spoke = together.spoke(frames, t)
        self.all_silent = not spoke and dense > 1 and frames >= HISTORY and t - together.quiet_since > together.allowed(self.least_s)

    def _verdict(self, stream: Stream, history: _History, t: int, asleep: int) -> Silent | None:
        if not stream.frames:
            asked = stream.requested_t
            if stream.dense and asked and t - asked - asleep > self.first_s * SECOND:
                return Silent(stream.name, stream.symbol, stream.channel, asked, int(self.first_s * SECOND), True)
            return None
        if stream.frames < HISTORY or not stream.dense:
            return None
        allowed = history.allowed(self.least_s)
        if t - history.quiet_since > allowed:
            return Silent(stream.name, stream.symbol, stream.channel, stream.last_t, allowed, False)
        return None
