"""Every default once. A value comes from: the command line > the environment (``TAPE_<KEY>``) > the YAML file > the default here.

An unknown key in the file or the environment is refused, with the nearest valid one, since a setting that is silently ignored is a
recording that silently is not made.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tape_archive.format.errors import SettingsError


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What every recorder knows. Times in seconds."""

    #: the folder of everything that is written
    root: str = "."
    #: redundant sockets for each group of streams
    sockets: int = 1
    #: the tape is on the disk at most so long after it was written
    fsync_s: float = 1.0
    #: leave with exit code 13 if nothing at all moves for so long; 0: never
    stall_s: float = 600.0
    #: a stream that should speak is asked for again if its first frame does not come for so long
    first_frame_s: float = 10.0
    #: no stream is called silent sooner, whatever its history
    silence_s: float = 10.0
    #: only IPv4 addresses of the venues
    ipv4: bool = False
    #: look at the sockets every so many milliseconds instead of at every packet: less CPU, coarser receive times; 0: exact times
    coalesce_ms: float = 0.0
    #: /metrics and /health; 0: any free port, -1: none
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    log_level: str = "info"
    log_json: bool = False
    #: the folder in which all programs of this host share the venues' REST weight; empty: one of this user
    budgets: str = ""
    #: record for so long, then leave with 0; 0: for ever
    run_s: float = 0.0
    #: other addresses: ``binance_spot.rest=http://127.0.0.1:8080``
    endpoints: dict[str, str] = {}
    #: PEM file of a private certificate authority (for endpoints of one's own)
    ca_file: str = ""


class CexSettings(Common, frozen=True, kw_only=True):
    """``cex-record``."""

    venues: tuple[str, ...] = ("binance_spot", "binance_usdm")
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    #: stream names without the symbol; empty: the venue's default set
    channels: tuple[str, ...] = ()
    out: str = "logs/cex.csv"
    hz: float = 1.0
    split_hours: int = 12
    band_bps: float = 10.0
    top: int = 5
    #: ask for each book by REST so often, keep it on the tape, and compare it with the live one; 0: never
    rest_every_s: float = 300.0
    #: look for listings, delistings and changed steps so often; 0: never
    listing_every_s: float = 3600.0
    #: keep the tape only: sequence check, no books, no CSV
    tape_only: bool = False
    #: also write order book ticks: orderbook_ticks/exchange=/symbol=/date=/part-*.parquet
    ticks: bool = False


class MarketSettings(Common, frozen=True, kw_only=True):
    """``market-record``."""

    venue: str = "binance_usdm"
    #: all, or names, or patterns (BTC*)
    symbols: tuple[str, ...] = ("all",)
    #: data types; empty: every type that the venue has
    types: tuple[str, ...] = ()
    #: also candles of these lengths, made from those of a minute: 3m, 45m, 2h
    custom: tuple[str, ...] = ()
    #: this process records part i of n of the symbols
    shard: str = "1/1"
    #: look for listings and delistings so often
    discovery_s: float = 300.0
    #: streams on one connection
    streams: int = 200
    #: where the tables go; empty: Parquet below the root; none: the tape only
    store: str = ""
    #: processes that write tables: 1, or one for each tape (public: books and quotes; market: the rest; poll: what REST tells)
    workers: int = 1
    #: at the end, wait at most so long until the tables have what the tape has
    drain_s: float = 30.0
    #: ask each symbol's open interest so often, as far as the weight allows
    poll_s: float = 5.0
    #: fill what the tables lack so often, and soon after the start; 0: never
    backfill_every_s: float = 21_600.0
    metrics_port: int = 8080


class BackfillSettings(Common, frozen=True, kw_only=True):
    """``backfill``."""

    venue: str = "binance_usdm"
    #: the tables to fill; empty: all that the venue can give the past of
    tables: tuple[str, ...] = ()
    #: all (that are in the tables), names, or patterns (BTC*)
    symbols: tuple[str, ...] = ("all",)
    #: why: restart, network, manual or scheduled
    scope: str = "manual"
    #: how far back: 7d, 36h; empty: as the scope says
    lookback: str = ""
    #: where the span ends; empty: now
    until: str = ""
    log_level: str = "warning"
    #: where the tables are; empty: Parquet below the root
    store: str = ""


class PolySettings(Common, frozen=True, kw_only=True):
    """``poly-record``."""

    sockets: int = 2
    coins: tuple[str, ...] = ("btc", "eth")
    timeframes: tuple[str, ...] = ("15m",)
    output: str = "real_hot"
    #: subscribe so long before a window opens
    lead_s: float = 90.0
    #: keep a window at most so long after its end, resolved or not
    linger_s: float = 1800.0
    #: first look for a result so long after the end
    result_after_s: float = 50.0
    #: cross-check the books against REST so often; 0: only after each (re)connect
    check_every_s: float = 300.0
    #: confirm results on chain through these JSON-RPC addresses; empty: do not
    rpc: tuple[str, ...] = ()


class HarvestSettings(Common, frozen=True, kw_only=True):
    """``ofi-record``. Names, units and defaults are the brief's where it has them; the environment knows each also in capitals
    (``SYMBOLS``, ``RUN_HOURS``, …)."""

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    #: 0: for ever
    run_hours: float = 72.0
    #: a part holds so many seconds of tape time
    parquet_rotate_sec: int = 60
    #: ping when nothing came for so long
    wss_ping_interval: float = 20.0
    #: a socket on which nothing at all came for so long is dead
    heartbeat_timeout: float = 30.0
    #: doubles are found by their ids, however old; so many missing ids are remembered, to tell a late trade from a double
    dedup_lru: int = 8192
    z_mode: str = "delta"
    scale_mode: str = "hybrid"
    mad_multiplier: float = 1.8
    scale_fast_weight: float = 0.2
    half_life_sec: float = 600.0
    winsor_limit: float = 8.0
    metrics_port: int = 8009
    #: the stream of the books: every change of every level, never a stream of the best few
    depth: str = "depth@100ms"
    precheck_minutes: float = 10.0
    #: more errors in an hour than this: a pause of ``error_cooldown_sec``
    max_errors_per_hour: int = 100
    error_cooldown_sec: float = 300.0
    #: a data-quality report so often, and at the end; 0: none
    report_hours: float = 1.0
    max_empty_bucket_rate: float = 0.001
    max_duplicate_rate: float = 0.005
    max_latency_p99_ms: float = 120.0
    max_latency_p50_ms: float = 60.0
    max_missing_rate: float = 0.001
    min_events_per_72h: int = 1000
    min_winsor_effect: float = 0.1


S = TypeVar("S", bound=Common)

#: the brief's file: ``ofi-record`` and ``validate`` read it where no other is named
SYSTEM_FILE = Path("config/system.yaml")

#: variables of the brief that are not the setting's name in capitals
_CALLED = {"PROMETHEUS_PORT": "metrics_port"}
_BRIEF = (
    *("SYMBOLS", "RUN_HOURS", "PARQUET_ROTATE_SEC", "WSS_PING_INTERVAL", "DEDUP_LRU", "Z_MODE", "SCALE_MODE", "MAD_MULTIPLIER"),
    *("SCALE_FAST_WEIGHT", "HALF_LIFE_SEC", "WINSOR_LIMIT", "PROMETHEUS_PORT", "LOG_LEVEL"),
)
#: folders of settings in a section of the file: of each key there, the setting
_NESTED: dict[str, dict[str, Any]] = {
    "data_harvest": {
        "websocket": {"ping_interval": "wss_ping_interval", "heartbeat_timeout": "heartbeat_timeout"},
        "data_quality": {
            "precheck_minutes": "precheck_minutes",
            "acceptance_criteria": {
                key: key
                for key in (
                    *("max_empty_bucket_rate", "max_duplicate_rate", "max_latency_p99_ms", "max_latency_p50_ms", "min_events_per_72h"),
                    *("min_winsor_effect", "max_missing_rate"),
                )
            },
        },
    }
}

#: secrets: read by the part that needs them, never by the settings, never shown
SECRETS = ("POLY_API_KEY", "POLY_API_SECRET", "POLY_API_PASSPHRASE")
#: variables of other parts of tapeline
_FOREIGN = ("TAPE_CAPTURES", "TAPE_FUZZ", "TAPE_CONFIG", "TAPE_KILLS", "TAPE_ROOT_", "TAPE_CACHE", "TAPE_REMOTE", "TAPE_MOUNT")


def load(kind: type[S], section: str, flags: Mapping[str, object], file: str | None = None) -> S:
    """The settings of one command. ``flags`` holds only what was given. Raises SettingsError, in one line that names the fix."""
    known = {field.name for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    file = file or os.environ.get("TAPE_CONFIG")
    if file:
        values |= _from_file(Path(file), section, known)
    elif kind is HarvestSettings and SYSTEM_FILE.is_file():
        values |= _from_file(SYSTEM_FILE, section, known, shared=True)
    values |= _from_environment(known)
    if kind is HarvestSettings:
        values = _brief(values)
    values |= {key: value for key, value in flags.items() if value is not None}
    try:
        settings = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from None
    _check(settings)
    return settings


def refuse_unknown(key: str, known: set[str], where: str) -> None:
    """Raise SettingsError for a key that is not known, naming the nearest one."""
    if key not in known:
        near = get_close_matches(key, sorted(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"unknown setting {key!r} in {where}{hint}")


def _from_file(path: Path, section: str, known: set[str], *, shared: bool = False) -> dict[str, Any]:
    """``shared``: sections of other programs may stand beside ours."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected sections such as '{section}:'")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: section {section!r} must hold settings, one a line")
    for key in () if shared else content:
        refuse_unknown(str(key), {"cex", "poly", "data_harvest", "market", "backfill", "monitor", "archiver"}, str(path))
    values = _flat(values, _NESTED.get(section, {}), f"{path}, section {section!r}")
    for key in values:
        refuse_unknown(str(key), known, f"{path}, section {section!r}")
    return values


def _flat(values: Mapping[str, Any], nested: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of a section with those of its folders."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        inner = nested.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            for name in value:
                refuse_unknown(str(name), set(inner), f"{where}, {key!r}")
            out |= _flat(value, inner, f"{where}, {key!r}")
        else:
            out[inner if isinstance(inner, str) else key] = value
    return out


def _from_environment(known: set[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in os.environ.items():
        if not name.startswith("TAPE_") or name.startswith(_FOREIGN):
            continue
        key = name.removeprefix("TAPE_").lower()
        refuse_unknown(key, known | _every_key(), f"the environment ({name})")
        if key in known:
            values[key] = _split(key, text)
    return values


def _brief(values: dict[str, Any]) -> dict[str, Any]:
    """The brief's own variables. One with ``TAPE_`` before its name counts more."""
    for name in _BRIEF:
        key = _CALLED.get(name, name.lower())
        if name in os.environ and f"TAPE_{key.upper()}" not in os.environ:
            values[key] = _split(key, os.environ[name])
    return values


def _every_key() -> set[str]:
    kinds = (CexSettings, PolySettings, MarketSettings, HarvestSettings, BackfillSettings)
    return {field.name for kind in kinds for field in msgspec.structs.fields(kind)}


def _split(key: str, text: str) -> object:
    if key in {"venues", "symbols", "channels", "coins", "timeframes", "rpc", "types", "custom", "tables"}:
        return names(text)
    if key == "endpoints":
        return endpoints(text.split())
    return text


def names(text: str | None) -> tuple[str, ...] | None:
    """``a,b c`` -> ("a", "b", "c"); None stays None (the option was not given)."""
    return None if text is None else tuple(text.replace(",", " ").split())


def endpoints(pairs: tuple[str, ...] | list[str]) -> dict[str, str] | None:
    """``("binance_spot.rest=http://…", …)`` -> {name: address}; nothing given stays None."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, address = pair.partition("=")
        if not equals or "://" not in address or "." not in name:
            raise SettingsError(f"--endpoint {pair!r}: expected <venue>.<host>=<address>, e.g. binance_spot.rest=http://127.0.0.1:8080")
        found[name] = address.rstrip("/")
    return found or None


#: a row of each market every millisecond is more than any venue sends; a band as wide as the price has no lower end
_MOST = {"hz": 1000.0, "band_bps": 10_000.0, "top": 1000, "sockets": 8}


def _check_numbers(settings: Common) -> None:
    """Every number is one, none is negative (but for a port: -1 is none), and some have an upper end."""
    for field in msgspec.structs.fields(settings):
        value, name = getattr(settings, field.name), field.name.removesuffix("_s").replace("_", "-")
        if type(value) not in (int, float) or field.name == "metrics_port":
            continue
        if not math.isfinite(value) or value < 0:
            raise SettingsError(f"{name} {value}: expected a number of 0 or more")
        if value > (most := _MOST.get(field.name, math.inf)):
            raise SettingsError(f"{name} {value}: expected at most {most:g}")


def _check(settings: Common) -> None:
    _check_numbers(settings)
    positive = {"fsync_s": settings.fsync_s, "sockets": settings.sockets}
    if isinstance(settings, CexSettings):
        positive |= {"hz": settings.hz, "band_bps": settings.band_bps, "top": settings.top}
        if settings.split_hours not in (0, 1, 6, 12, 24):
            raise SettingsError(f"split-hours {settings.split_hours}: expected 0, 1, 6, 12 or 24")
    if isinstance(settings, HarvestSettings):
        positive |= _check_harvest(settings)
    for key, value in positive.items():
        if not value > 0:
            raise SettingsError(f"{key.replace('_', '-')} {value}: expected more than 0")
    if settings.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"log-level {settings.log_level!r}: expected debug, info, warning or error")


def _check_harvest(settings: HarvestSettings) -> dict[str, float]:
    """Refuse what the features do not know; gives what must be above 0."""
    for key, value, known in (("z_mode", settings.z_mode, ("delta", "level")), ("scale_mode", settings.scale_mode, ("hybrid", "ewma"))):
        if value not in known:
            raise SettingsError(f"{key.replace('_', '-')} {value!r}: expected {' or '.join(known)}")
    if not 0.0 <= settings.scale_fast_weight <= 1.0:
        raise SettingsError(f"scale-fast-weight {settings.scale_fast_weight}: expected 0 to 1")
    if settings.run_hours < 0 or not settings.symbols:
        raise SettingsError(
            "run-hours: expected 0 (for ever) or more" if settings.symbols else "no symbols; name some, e.g. --symbols BTCUSDT"
        )
    if settings.parquet_rotate_sec > 3600:
        raise SettingsError(f"parquet-rotate-sec {settings.parquet_rotate_sec}: expected at most 3600")
    if settings.depth.partition("@")[0] != "depth":
        raise SettingsError(f"depth {settings.depth!r}: expected depth, depth@100ms, depth@500ms or depth@0ms: streams of every change")
    names = ("parquet_rotate_sec", "wss_ping_interval", "heartbeat_timeout", "dedup_lru", "half_life_sec", "winsor_limit", "mad_multiplier")
    return {name: getattr(settings, name) for name in (*names, "precheck_minutes", "error_cooldown_sec")}
