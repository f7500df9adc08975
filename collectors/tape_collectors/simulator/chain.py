"""A subset of a Polygon node: enough for web3 to read how the conditional-token contract settled a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tape_collectors.simulator.polymarket_rest import PolymarketRest
    from tape_collectors.simulator.windows import Window

_DENOMINATOR, _NUMERATOR = "dd34de67", "0504c814"
RESOLUTION = "0xb44d84d3289691f71497564b85d4233648d9dbae8cbdbb4329f301c3a0185894"
CTF = "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045"
ORACLE = "0x" + "5f" * 20
_BLOCK0, _BLOCK_S = 80_000_000, 2
#: public nodes answer no more blocks at once (sheet 6)
RANGE_MOST = 10_000


def _word(value: int) -> str:
    return f"{value:064x}"


def _block(second: float) -> int:
    return _BLOCK0 + int(second - 1_760_000_000) // _BLOCK_S


async def reply(venue: PolymarketRest, request: web.Request) -> web.StreamResponse:
    """One JSON-RPC request or a batch."""
    body = await request.json()
    answers = [_one(venue, item) for item in (body if isinstance(body, list) else [body])]
    return web.json_response(answers if isinstance(body, list) else answers[0])


def _one(venue: PolymarketRest, item: dict[str, Any]) -> dict[str, Any]:
    head = {"jsonrpc": "2.0", "id": item.get("id")}
    try:
        return head | {"result": _result(venue, str(item["method"]), item.get("params", []))}
    except ValueError as error:
        return head | {"error": {"code": -32602, "message": str(error)}}
    except KeyError as error:
        return head | {"error": {"code": -32601, "message": f"the method {error} does not exist"}}


def _result(venue: PolymarketRest, method: str, params: list[Any]) -> Any:
    now = venue.now()
    if method == "eth_chainId":
        return hex(137)
    if method == "net_version":
        return "137"
    if method == "eth_blockNumber":
        return hex(_block(now))
    if method == "eth_call":
        return _call(venue, str(params[0].get("data") or params[0].get("input")))
    if method == "eth_getLogs":
        return _logs(venue, params[0])
    if method == "eth_getBlockByNumber":
        return _header(_number(params[0], _block(now)))
    raise KeyError(method)


def _call(venue: PolymarketRest, data: str) -> str:
    selector, condition = data[2:10], "0x" + data[10:74]
    window = venue.conditions.get(condition)
    done = window is not None and venue.resolved(window)
    if selector == _DENOMINATOR:
        return "0x" + _word(1 if done else 0)
    if selector == _NUMERATOR:
        index = int(data[74:138], 16)
        return "0x" + _word(int(done and window is not None and window.up_won == (index == 0)))
    return "0x"


def _logs(venue: PolymarketRest, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    topics = wanted.get("topics", [])
    head = _block(venue.now())
    first, last = (_number(wanted.get(key, "latest"), head) for key in ("fromBlock", "toBlock"))
    if last - first > RANGE_MOST:
        raise ValueError(f"block range greater than {RANGE_MOST} max")
    window = venue.conditions.get(topics[1] if len(topics) > 1 else "")
    if not topics or topics[0] != RESOLUTION or window is None or not venue.resolved(window):
        return []
    log = _log(venue, window)
    address = wanted.get("address", CTF)
    addresses = [address] if isinstance(address, str) else address
    right = CTF.lower() in [one.lower() for one in addresses] and first <= int(log["blockNumber"], 16) <= last
    return [log] if right else []


def _number(text: str, head: int) -> int:
    return 0 if text == "earliest" else head if text in ("latest", "finalized", "safe", "pending") else int(text, 16)


def _log(venue: PolymarketRest, window: Window) -> dict[str, Any]:
    payouts = (1, 0) if window.up_won else (0, 1)
    number = _block(window.end + venue.resolve_s)
    return {
        "address": CTF,
        "topics": [RESOLUTION, window.condition, "0x" + ORACLE[2:].rjust(64, "0"), window.condition],
        "data": "0x" + _word(2) + _word(64) + _word(2) + _word(payouts[0]) + _word(payouts[1]),
        "blockNumber": hex(number),
        "blockHash": "0x" + _word(number),
        "transactionHash": "0x" + window.condition[2:][::-1],
        "transactionIndex": "0x0",
        "logIndex": "0x0",
        "removed": False,
    }


def _header(number: int) -> dict[str, Any]:
    zero = "0x" + "0" * 64
    return {
        "number": hex(number),
        "hash": "0x" + _word(number),
        "parentHash": "0x" + _word(number - 1),
        "nonce": "0x0000000000000000",
        "sha3Uncles": zero,
        "logsBloom": "0x" + "0" * 512,
        "transactionsRoot": zero,
        "stateRoot": zero,
        "receiptsRoot": zero,
        "miner": "0x" + "0" * 40,
        "difficulty": "0x1",
        "totalDifficulty": "0x1",
        # Polygon's extraData is longer than Ethereum's 32 bytes: web3 needs its proof-of-authority middleware.
        "extraData": "0x" + "11" * 97,
        "size": "0x220",
        "gasLimit": "0x1c9c380",
        "gasUsed": "0x0",
        "timestamp": hex(1_760_000_000 + (number - _BLOCK0) * _BLOCK_S),
        "transactions": [],
        "uncles": [],
        "mixHash": zero,
        "baseFeePerGas": "0x0",
    }
