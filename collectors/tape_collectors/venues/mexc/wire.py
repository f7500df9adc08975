"""MEXC spot v3 payloads: protobuf messages made from a table of our own, and the JSON of control frames and REST.

Source of the field numbers: the venue's published message definitions (2026-06-17), as the project's sheet, section 7.3, lists them; read
2026-11-20. Only what is used is in the table; fields that are not are skipped by the runtime, and stay on the tape.
"""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from tape_archive.format.records import Levels
from tape_collectors.venues.numbers import Id, Ms

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _FIELD.TYPE_STRING, "int64": _FIELD.TYPE_INT64, "int32": _FIELD.TYPE_INT32}
#: message -> field -> (number, type, repeated)
_TABLE: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Level": {"price": (1, "string", False), "quantity": (2, "string", False)},
    "Depth": {
        "asks": (1, "Level", True),
        "bids": (2, "Level", True),
        "fromVersion": (4, "string", False),
        "toVersion": (5, "string", False),
    },
    "Deal": {
        "price": (1, "string", False),
        "quantity": (2, "string", False),
        "tradeType": (3, "int32", False),
        "time": (4, "int64", False),
        "tradeId": (5, "string", False),
    },
    "Deals": {"deals": (1, "Deal", True)},
    "Best": {
        "bidPrice": (1, "string", False),
        "bidQuantity": (2, "string", False),
        "askPrice": (3, "string", False),
        "askQuantity": (4, "string", False),
        "version": (5, "string", False),
    },
    "Limit": {"asks": (1, "Level", True), "bids": (2, "Level", True), "version": (4, "string", False)},
    "Bar": {
        "interval": (1, "string", False),
        "windowStart": (2, "int64", False),
        "open": (3, "string", False),
        "close": (4, "string", False),
        "high": (5, "string", False),
        "low": (6, "string", False),
        "volume": (7, "string", False),
        "windowEnd": (9, "int64", False),
    },
    "Wrapper": {
        "channel": (1, "string", False),
        "symbol": (3, "string", False),
        "sendTime": (6, "int64", False),
        "limit": (303, "Limit", False),
        "bar": (308, "Bar", False),
        "depth": (313, "Depth", False),
        "deals": (314, "Deals", False),
        "best": (315, "Best", False),
    },
}


def _made() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="tapeline/mexc.proto", package="tapeline.mexc", syntax="proto3")
    for name, fields in _TABLE.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if kind in _TYPES:
                message.field.add(name=field, number=number, type=_TYPES[kind], label=label)
            else:
                message.field.add(name=field, number=number, type=_FIELD.TYPE_MESSAGE, type_name=f".tapeline.mexc.{kind}", label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tapeline.mexc.Wrapper"))


Wrapper: Any = _made()


def wrapper(data: bytes) -> Any:
    """One binary frame. Raises ValueError."""
    try:
        return Wrapper.FromString(data)
    except DecodeError as error:
        raise ValueError(f"no wrapper: {error}") from None


def levels(items: Any) -> Levels:
    """Rows of a message as (price, size)."""
    return [(item.price, item.quantity) for item in items]


class Answer(msgspec.Struct, gc=False):
    """Control frames. ``code`` is 0 for a refusal too: ``msg`` is the channel that was asked for, or says why not."""

    msg: str = ""
    id: int = 0
    code: int = 0
    method: str = ""
    #: of the futures' socket and of the service of before 2025-08: other products
    channel: str = ""


class RestBook(msgspec.Struct, gc=False):
    """``/api/v3/depth``."""

    lastUpdateId: Id
    bids: Levels
    asks: Levels
    timestamp: Ms = 0


class Pair(msgspec.Struct):
    """A row of ``/api/v3/exchangeInfo``; ``status`` 1 online, 2 pause, 3 offline."""

    symbol: str
    status: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    quotePrecision: int = 0
    baseSizePrecision: str = ""


class Info(msgspec.Struct):
    """``/api/v3/exchangeInfo``."""

    symbols: list[Pair]


answer = msgspec.json.Decoder(Answer).decode
rest_book = msgspec.json.Decoder(RestBook).decode
info = msgspec.json.Decoder(Info).decode
