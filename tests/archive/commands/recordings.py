"""Small recordings for the commands to read."""

from pathlib import Path

from tape_archive.format.lines import frame_line, mark_line
from tape_archive.format.tape import FileTape, Tape, register

HOUR = 3_600_000_000_000
SECOND = 1_000_000_000
T = 490_000 * HOUR


def head(t: int) -> list[bytes]:
    return [mark_line(t, "tape", "tape", {"format": 1})]


def two_streams(root: Path) -> list[Path]:
    """Two hours of two streams, a frame a minute, by turns; all sealed. Gives the files."""
    sealed = []
    for offset, stream in enumerate(("spot", "usdm")):
        tape = Tape(root, "binance", stream)
        for hour in range(2):
            begin = T + hour * HOUR + offset
            sealed.append(tape.turn(begin, head(begin)))
            for minute in range(1, 60):
                tape.append(frame_line(begin + minute * 60 * SECOND, f"{stream}-1", b'{"n":%d}' % (hour * 60 + minute)), 1)
        sealed.append(tape.seal(T + 2 * HOUR - 10 + offset))
    files = [path for path in sealed if path is not None]
    for path in files:
        register(path)
    return files


def window(root: Path) -> Path:
    """One window that is still hot."""
    tape = FileTape(root / "real_hot" / "btc-updown-15m-1767507300.jsonl")
    for line in head(T):
        tape.append(line, 1)
    tape.append(frame_line(T + 1, "clob-1", b'[{"event_type":"book"}]'), 1)
    tape.append(frame_line(T + 2, "clob-1", b"PONG"), 1)
    tape.close()
    return tape.path
