"""From what each connection received of a stream to what is missing of it: arithmetic on intervals, no files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec


class Missing(msgspec.Struct):
    """One gap. Times are tape time (ns) of the last frame before and the first after; ids are the missing ones, inclusive, 0 if unknown."""

    from_ns: int
    to_ns: int
    from_id: int
    to_id: int
    why: str


class Epoch(msgspec.Struct):
    """One connection's share of one stream. ``first_t`` is 0 if no frame ever came, ``acked_t`` if no subscription was confirmed;
    ``first_id`` is 0 where the venue does not count.

    ``union``: the tape holds each frame once, from whichever socket was first, so that an open socket carries even while it adds nothing.
    ``frames``, ``first_ns`` and ``last_ns`` are those within the span that was asked for.
    """

    s: str
    opened: int
    closed: int
    acked_t: int
    first_t: int
    last_t: int
    first_id: int
    last_id: int
    dense: bool
    why: str
    union: bool
    frames: int
    first_ns: int
    last_ns: int

    @property
    def carries(self) -> int:
        """From when on this connection carried the stream. An ack alone proves nothing; with a frame behind it, it says since when."""
        if self.union:
            return self.opened
        return min(self.acked_t or self.first_t, self.first_t)


class Row:
    """What is known of one stream: its epochs, the gaps that feeds found (with the epoch's name), the times from which it was silent."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.found: list[tuple[str, Missing]] = []
        self.silent: list[int] = []


class _Piece(msgspec.Struct):
    """Ids that one connection received without a hole, and when. ``gap`` is what its own feed found before it."""

    first_id: int
    last_id: int
    from_t: int
    to_t: int
    epoch: Epoch
    gap: Missing | None = None


def finish(row: Row, span: tuple[int, int], *, edges: bool) -> tuple[list[Missing], int, int, int] | None:
    """(gaps, frames, first, last) of a row within a span; None if the span knows nothing of it. ``edges``: what lies within the span but
    before or behind the whole recording is missing too."""
    epochs = sorted(row.epochs, key=lambda epoch: (epoch.first_t or epoch.opened, epoch.s))
    spoke = [epoch for epoch in epochs if epoch.first_t]
    if any(epoch.first_id for epoch in spoke):
        numbered = [missing for _, missing in row.found if not missing.from_id]
        gaps = [*_by_ids(spoke, row.found), *numbered, *_mute(epochs, spoke)]
    else:
        unseen = [missing for s, missing in row.found if not _covered(missing, s, spoke, row.found)]
        gaps = [*unseen, *_by_time(spoke), *_silences(row.silent, spoke), *_mute(epochs, spoke)]
    if any(span):
        gaps = [gap for gap in gaps if (not span[1] or gap.from_ns <= span[1]) and gap.to_ns >= span[0]]
        gaps += _edges(spoke, span) if edges else []
    gaps.sort(key=lambda gap: (gap.from_ns, gap.from_id))
    frames = sum(epoch.frames for epoch in epochs)
    open_then = any(epoch.opened <= (span[1] or epoch.opened) and epoch.closed >= span[0] for epoch in epochs)
    if not (frames or gaps or open_then):
        return None
    heard = [epoch for epoch in epochs if epoch.frames]
    first, last = (min(epoch.first_ns for epoch in heard), max(epoch.last_ns for epoch in heard)) if heard else (0, 0)
    return gaps, frames, first, last


def _by_ids(spoke: list[Epoch], found: list[tuple[str, Missing]]) -> Iterator[Missing]:
    """The holes in all that was received, put together by the venue's numbers."""
    pieces = sorted((piece for epoch in spoke for piece in _pieces(epoch, found)), key=lambda piece: (piece.first_id, piece.last_id))
    before: _Piece | None = None
    for piece in pieces:
        if before is not None and piece.first_id > before.last_id + 1:
            if before.to_t < piece.from_t:
                own = piece.gap if piece.epoch is before.epoch else None
                why = own.why if own else _why(before.epoch)
                yield Missing(before.to_t, piece.from_t, before.last_id + 1, piece.first_id - 1, why)
            elif piece.epoch.closed < before.epoch.first_t:
                yield Missing(piece.to_t, before.from_t, 0, 0, f"{_why(piece.epoch)}; the venue counts anew")
        if before is None or (piece.last_id, piece.to_t) > (before.last_id, before.to_t):
            before = piece


def _why(epoch: Epoch) -> str:
    return f"disconnect: {epoch.why or 'the recording ends'}"


def _pieces(epoch: Epoch, found: Iterable[tuple[str, Missing]]) -> Iterator[_Piece]:
    first_id, from_t, gap = epoch.first_id, epoch.first_t, None
    own = sorted((missing for s, missing in found if s == epoch.s and missing.from_id), key=lambda missing: missing.from_id)
    for missing in own:
        if missing.from_id > first_id:
            yield _Piece(first_id, missing.from_id - 1, from_t, missing.from_ns, epoch, gap)
        first_id, from_t, gap = missing.to_id + 1, missing.to_ns, missing
    yield _Piece(first_id, max(epoch.last_id, first_id), from_t, epoch.last_t, epoch, gap)


def _covered(missing: Missing, s: str, spoke: list[Epoch], found: list[tuple[str, Missing]]) -> bool:
    """Whether another connection carried the stream over this gap without one of its own, or told of it before."""
    for epoch in spoke:
        if epoch.s != s and epoch.carries <= missing.from_ns and missing.to_ns <= epoch.last_t:
            holes = [gap for name, gap in found if name == epoch.s and gap.from_ns < missing.to_ns and missing.from_ns < gap.to_ns]
            if not holes or (epoch.s < s and any(gap.from_id <= missing.from_id and gap.to_id >= missing.to_id for gap in holes)):
                return True
    return False


def _by_time(spoke: list[Epoch]) -> Iterator[Missing]:
    """The times in which no connection carried the stream."""
    before: Epoch | None = None
    last_t = 0
    for epoch in sorted(spoke, key=lambda epoch: (epoch.carries, epoch.s)):
        if before is not None and epoch.carries > before.closed:
            yield Missing(last_t, epoch.first_t, 0, 0, _why(before))
        if before is None or epoch.closed > before.closed:
            before = epoch
        last_t = max(last_t, epoch.last_t)


def _mute(epochs: list[Epoch], spoke: list[Epoch]) -> Iterator[Missing]:
    """Connections on which a stream that must speak never did, where no other shows that nothing was lost."""
    counted = any(epoch.first_id for epoch in spoke)
    for epoch in epochs:
        if epoch.first_t or not epoch.dense:
            continue
        beside = any(other.carries < epoch.closed and epoch.opened < other.closed for other in spoke)
        between = counted and any(o.last_t <= epoch.opened for o in spoke) and any(o.first_t >= epoch.closed for o in spoke)
        if not beside and not between:
            yield Missing(epoch.opened, epoch.closed, 0, 0, "no frame ever came")


def _silences(silent: list[int], spoke: list[Epoch]) -> Iterator[Missing]:
    for since in sorted(set(silent)):
        if any(epoch.first_t <= since and epoch.last_t > since for epoch in spoke):
            # It spoke again on the same connection.
            continue
        if not any(epoch.first_t > since for epoch in spoke):
            yield Missing(since, max((epoch.closed for epoch in spoke), default=since), 0, 0, "silent")


def _edges(spoke: list[Epoch], span: tuple[int, int]) -> Iterator[Missing]:
    first = min((epoch.first_t for epoch in spoke), default=0)
    last = max((epoch.closed for epoch in spoke), default=0)
    if first and span[0] and first > span[0]:
        yield Missing(span[0], min(first, span[1] or first), 0, 0, "before the recording")
    if last and span[1] and last < span[1]:
        yield Missing(max(last, span[0]), span[1], 0, 0, "after the recording")
