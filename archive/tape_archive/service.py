"""How a command of ours starts, speaks and ends: logs, one-line errors, exit codes."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from tape_archive.format.errors import SettingsError, TapeError

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    """One line a record: JSON, or text with the extra fields behind."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        extra = {key: value for key, value in vars(record).items() if key not in _PLAIN}
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if record.exc_info and not self._json:
            extra["trace"] = "\n" + self.formatException(record.exc_info)
        if self._json:
            if record.exc_info:
                extra["trace"] = self.formatException(record.exc_info)
            line = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(), **extra}
            return msgspec.json.encode(line, enc_hook=str).decode()
        fields = " ".join(f"{key}={value}" for key, value in extra.items())
        return f"{at} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()


def log_setup(level: str, *, as_json: bool = False) -> None:
    """Log to stderr. Line breaks in what a network said stay escaped in JSON; text lines are for people."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Formatter(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level.upper())
    logging.getLogger("picows").setLevel(logging.ERROR)
    for chatty in ("aiohttp", "httpx", "httpcore", "web3", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Log to this file too, as text."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}; choose another --root or give this user the right to write there"
        ) from None
    stream.setFormatter(_Formatter(as_json=False))
    logging.getLogger().addHandler(stream)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(stream)
        stream.close()


def collect_seldom() -> None:
    """What was imported lives for ever, and a recorder makes few cycles: the garbage collector is told so, since each of its passes over
    the levels of books, or over rows that wait, is time in which nothing is read (measured: a quarter of the CPU of the whole recorder)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def run_async(main: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed."""
    collect_seldom()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_to_the_end(main))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_to_the_end(main))


async def _to_the_end(main: Coroutine[Any, Any, int]) -> int:
    """Run ``main``, and leave no task behind: one that is cancelled may begin another (a handshake that just came about)."""
    try:
        return await main
    finally:
        for _ in range(5):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if not others:
                break
            await asyncio.wait(others, timeout=1.0)


def fail(error: BaseException) -> int:
    """Say an error in one line on stderr; gives the exit code."""
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return error.exit_code if isinstance(error, TapeError) else 1


def command(main: click.Command) -> Callable[[], None]:
    """A console script for a click command: TapeError -> one line and its exit code; Ctrl-C -> 130; a closed pipe is no error."""

    def script() -> None:
        try:
            code = main.main(standalone_mode=False)
        except click.exceptions.Exit as leaving:
            code = leaving.exit_code
        except click.Abort:
            code = 130
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = 2
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f"; see {context.command_path} --help" if context is not None else ""
            code = fail(SettingsError(f"{error.format_message().rstrip('.')}{hint}"))
        except TapeError as error:
            code = fail(error)
        except BrokenPipeError:
            sys.stderr.close()
            code = 0
        except KeyboardInterrupt:
            code = 130
        sys.exit(code if isinstance(code, int) else 0)

    return script
