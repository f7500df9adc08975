"""What stands on a tape of troubles with a venue, so that a row without a book can say why. Pure.

Each is (where, why): ``where`` is a text in which the symbol of a market stands, or "" for all markets of the venue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Trouble = tuple[str, str]
_WORD = re.compile(r"[=&/?\s:]+")


def of_mark(kind: str, fields: Mapping[str, object]) -> Trouble | None:
    """What a mark says; None: nothing of the kind."""
    if kind == "unconnected":
        return "", f"cannot connect: {fields.get('why', '')}"
    if kind == "silent":
        return str(fields.get("symbol", "")), f"{fields.get('channel', '')} is silent"
    if kind == "refused":
        return str(fields.get("symbol", "")), f"{fields.get('channel', '')} is refused: {fields.get('why', '')}"
    return None


def of_reply(request: str, status: int) -> Trouble | None:
    """What a REST reply says; None: it is one."""
    if status == 200:
        return None
    return request, f"REST answers {status}" if status else "REST does not answer"


def concerns(where: str, symbol: str) -> bool:
    """Whether a trouble is one of a market."""
    return not where or symbol in _WORD.split(where)
