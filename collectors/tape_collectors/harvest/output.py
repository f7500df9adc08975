"""OFI and CVD Parquet while recording: rows in, parts out, and what an earlier run left unfinished made again from its tape.

``artifacts/state/checkpoint.json`` says after each rotation how far every symbol is: the brief's keys (``last_offset``: the last aggregate
trade, ``last_timestamp``: its time in ms, ``run_tag``), and ours: ``t``, the tape time before which every part is on the disk, ``hour``,
the whole hour from which the next run makes again what is missing, and ``carry``, what CVD goes on from.

``state/ofi_cvd.state`` holds what the features remember at ``hour``. It only saves the next run from reading from the run's beginning:
without it, or if another version wrote it, the same parts are made from there.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tape_archive.format import cursor
from tape_archive.format import harvest as layout
from tape_archive.format.atomic import sweep, write_atomic
from tape_archive.format.errors import DiskFull, StoreError, TapeError
from tape_archive.format.layout import Segment, segments
from tape_archive.format.records import Record
from tape_archive.format.rotation import HOUR
from tape_collectors.harvest import derive
from tape_collectors.market.harvest import Harvest, HarvestPart
from tape_collectors.market.harvest_setup import VENUE, HarvestSetup
from tape_collectors.market.trade_chain import Carry
from tape_collectors.runtime.error_budget import ErrorBudget
from tape_collectors.sinks import harvest as sink
from tape_collectors.sinks.parts import PartFiles

log = logging.getLogger(__name__)
TRIES = 3
#: rows that may wait to be written
MOST_ROWS = 2_000_000


class Checkpoint(msgspec.Struct):
    """See the module."""

    last_offset: dict[str, int] = {}
    last_timestamp: dict[str, int] = {}
    run_tag: str = ""
    t: int = 0
    hour: int = 0
    carry: dict[str, Carry] = {}
    format: int = 1


def load(root: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none that can be read: all of it can be made again from the tape."""
    path = root / layout.CHECKPOINT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        log.warning("the checkpoint cannot be read; the output is made again from the tape", extra={"path": str(path), "why": str(error)})
        return None


class HarvestOutput:
    """A consumer of the tape."""

    def __init__(
        self, root: Path, setup: HarvestSetup, run: str, budget: ErrorBudget, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.root = root
        self.run = run
        self.files: PartFiles[HarvestPart] = PartFiles("ofi_cvd", self._put, MOST_ROWS)
        self.harvest = Harvest(setup, self.files.take)
        self.harvest.rotated = self._rotated
        self.harvest.turned = self._turned
        #: whether parts of an earlier run may be missing, or of this one (they could not be written)
        self.owing = False
        self.errors = 0
        self._budget = budget
        self._monotonic = monotonic
        self._hour = 0
        self._begun = 0
        self._stopped = threading.Event()

    # -- the consumer ----------------------------------------------------------------------------------------------------------

    def begin(self, t: int, begun: int) -> None:
        """A run begins."""
        self._begun = begun
        self.harvest.begin(t, begun)

    def advance(self, t: int) -> bool:
        """Tape time is ``t`` now. Decoding waits while too many rows wait to be written; the tape does not."""
        if not self.files.room():
            return False
        self.harvest.advance(t)
        return True

    def due(self) -> int:
        """Features follow every line."""
        return 0

    def record(self, venue: str, s: str, record: Record) -> None:
        """What a line said."""
        self.harvest.record(venue, s, record)

    def closed(self, venue: str, t: int, s: str, why: str) -> None:
        """An epoch is over."""
        self.harvest.closed(venue, t, s, why)

    def trouble(self, venue: str, t: int, where: str, why: str) -> None:
        """Nothing: these tables have no rows without data."""

    def state(self, venue: str, s: str, symbol: str) -> dict[str, object]:
        """For a checkpoint of the tape."""
        return self.harvest.state(venue, s, symbol)

    # -- the run ---------------------------------------------------------------------------------------------------------------

    def start(self, settle: Callable[[], None]) -> None:
        """Before the first line. ``settle`` puts the tapes on the disk."""
        self.files.settle = settle
        sink.clean(self.root)
        sweep((self.root / layout.CHECKPOINT).parent)
        saved = load(self.root)
        self.owing = bool(segments(self.root, VENUE))
        self._hour = saved.hour if saved is not None else 0

    def remake(self) -> None:
        """The parts that earlier runs did not come to; once this run has begun, in a thread of its own."""
        made = 0
        try:
            chosen, state = _unfinished(self.root, self._hour)
            for part in derive.parts(chosen, self._begun - 1, state, self._stopped.is_set):
                if not sink.place(self.root, part).exists():
                    self.files.settle()
                    sink.write(self.root, part)
                    made += 1
        except TapeError as error:
            log.error("the parts of an earlier run are not complete; the next start tries again", extra={"why": str(error)})
            return
        if not self._stopped.is_set():
            self.owing = False
            log.info("the parts of earlier runs are complete", extra={"parts": made})

    def stop(self, whole: bool) -> None:
        """The run is over. ``whole``: every line of it was seen; otherwise the next run makes from the tape what was not finished."""
        self._stopped.set()
        if whole:
            self.harvest.end()
            self._rotated(self.harvest.now + 1)
        self.files.close()

    # -- parts -----------------------------------------------------------------------------------------------------------------

    def _put(self, part: HarvestPart) -> None:
        """Three tries; then the part is left to the next run, and recording goes on. After too many errors nothing is tried for a while."""
        if self._budget.wait(self._monotonic()) > 0:
            self.owing = True
            return
        for tries in range(1, TRIES + 1):
            try:
                sink.write(self.root, part)
                return
            except DiskFull:
                raise
            except StoreError as error:
                log.warning(
                    "a part could not be written", extra={"part": str(sink.place(self.root, part)), "try": tries, "why": str(error)}
                )
        self.errors += 1
        self.owing = True
        self._budget.error(self._monotonic())

    def _rotated(self, t: int) -> None:
        chains = {symbol: market.trades.chain.last for symbol, market in self.harvest.markets.items()}
        carry = {symbol: last for symbol, last in chains.items() if last is not None}
        self.files.then(lambda: self._save(t, carry))

    def _save(self, t: int, carry: dict[str, Carry]) -> None:
        offsets = {symbol: last.last_id for symbol, last in carry.items()}
        times = {symbol: last.last_ts // 1_000_000 for symbol, last in carry.items()}
        checkpoint = Checkpoint(offsets, times, self.run, t, self._hour, carry)
        try:
            write_atomic(self.root / layout.CHECKPOINT, msgspec.json.format(msgspec.json.encode(checkpoint)), durable=False)
        except DiskFull:
            raise
        except StoreError as error:
            log.warning("the checkpoint could not be written", extra={"why": str(error)})

    def _turned(self, hour: int) -> None:
        if self.owing:
            return
        content = pickle.dumps((derive.made_by(), self.run, hour, self.harvest.freeze()))
        self.files.then(lambda: self._keep(hour, content))

    def _keep(self, hour: int, content: bytes) -> None:
        if not self.owing:
            write_atomic(_state_path(self.root), content, durable=False)
            # The archiver leaves alone what a cursor still needs.
            cursor.save(self.root / "state" / "ofi_cvd.cursor", cursor.Cursor(run=self.run, t=hour))
            self._hour = hour


def _state_path(root: Path) -> Path:
    return root / "state" / "ofi_cvd.state"


def _unfinished(root: Path, hour: int) -> tuple[Sequence[Segment], derive.State | None]:
    """The segments that may make parts which are not there yet, and the state that they are entered with."""
    found = segments(root, VENUE)
    later = [one for one in found if one.hour >= hour]
    if state := _saved(root, hour):
        heads = [derive.head(one) for one in later if one.hour == hour]
        first = [line for line in heads if line is not None and line.fields.get("run") == state[0]]
        if first and all(line.fields.get("checkpoint") for line in first):
            return later, state
    # From the beginning of the run that goes on into the hour.
    begun = [line.fields.get("begun", line.t) for one in later if (line := derive.head(one)) is not None]
    since = min(begun, default=0) // HOUR * HOUR
    return [one for one in found if one.hour >= since], None


def _saved(root: Path, hour: int) -> derive.State | None:
    """The state that was saved at ``hour``, if this program can read it."""
    try:
        made_by, run, at, state = pickle.loads(_state_path(root).read_bytes())
    except FileNotFoundError:
        return None
    except Exception as error:
        # Whatever is wrong with it, it only saves time.
        log.warning("the saved state cannot be read; reading the run from its beginning", extra={"why": repr(error)[:200]})
        return None
    return (run, at, state) if made_by == derive.made_by() and at == hour else None


def carried(root: Path, setup: HarvestSetup) -> dict[str, Carry]:
    """Where the run before left CVD: the checkpoint, and the trades that are on the tape behind it. Empty where nobody knows."""
    saved = load(root) or Checkpoint()
    return derive.carried(root, setup, saved.carry, saved.t)
