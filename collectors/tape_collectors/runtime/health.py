"""``/metrics`` and ``/health``, on the loopback unless told otherwise.

Nothing here is touched by a frame: the numbers are read from the recorder's own plain counters when somebody asks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tape_archive.format.errors import SettingsError
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.pool import Pool
from tape_collectors.runtime.recorder import Recorder

SECOND = 1_000_000_000


class Status(msgspec.Struct, kw_only=True):
    """What a recorder is doing, for people and for the monitor."""

    ok: bool
    reasons: list[str]
    run: str
    started: float
    t: int
    connections: int
    frames: int
    bytes: int
    gaps: int
    unknown: int
    reconnects: int
    resubscribes: int
    queue_bytes: int
    behind: bool
    clock_offset_ns: int
    streams: list[dict[str, Any]]


#: above so many streams, status and metrics tell of channels (the newest age of each)
MOST_STREAMS = 1000


class Health:
    """Reads the recorder's counters; gives them as metrics, as a status, and as health."""

    def __init__(self, recorder: Recorder, pools: list[Pool], fetchers: dict[str, Fetcher], root: Path, run: str) -> None:
        self._recorder = recorder
        self._pools = pools
        self._fetchers = fetchers
        self._root = root
        self._run = run
        self._started = time.time()
        #: (name, meaning, value) of gauges that a recorder adds
        self.more: list[Callable[[], Iterable[tuple[str, str, float]]]] = []
        #: what else is not as it should be
        self.worries: list[Callable[[], Iterable[str]]] = []

    def status(self) -> Status:
        """A snapshot of everything."""
        recorder = self._recorder
        streams = list(self._streams())
        reasons = [
            f"{pool.venue} {pool.group.name} ({pool.group.url}) has no connection"
            for pool in self._pools
            if not pool.open and pool.group.names
        ]
        for pool in self._pools:
            for name, since in sorted(pool.silent.items()):
                reasons.append(f"{name} of {pool.venue} {pool.group.name} is silent for {(recorder.clock.now() - since) / SECOND:.0f} s")
        if recorder.behind:
            reasons.append("decoding goes on from the tape")
        reasons += [worry for worries in self.worries for worry in worries()]
        return Status(
            ok=not reasons,
            reasons=reasons,
            run=self._run,
            started=self._started,
            t=recorder.clock.now(),
            connections=sum(len(pool.open) for pool in self._pools),
            frames=recorder.frames,
            bytes=sum(intake.bytes for intake in recorder.intakes),
            gaps=sum(recorder.gaps.values()),
            unknown=recorder.unknown,
            reconnects=sum(pool.reconnects for pool in self._pools),
            resubscribes=sum(pool.resubscribes for pool in self._pools),
            queue_bytes=recorder.queue_bytes,
            behind=recorder.behind,
            clock_offset_ns=recorder.clock.offset_ns,
            streams=streams,
        )

    def _streams(self) -> Iterator[dict[str, Any]]:
        """Stream by stream; channel by channel where there are too many of them to look at."""
        every = sum(len(feed.streams) for intake in self._recorder.intakes for feed in intake.replay.feeds.values())
        yield from self._by_channel() if every > MOST_STREAMS else self._each()

    def _by_channel(self) -> Iterator[dict[str, Any]]:
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in self._each():
            found.setdefault((one["venue"], one["stream"].partition("@")[2] or one["stream"]), []).append(one)
        for (venue, channel), some in found.items():
            ages = [one["age_s"] for one in some if one["age_s"] is not None]
            seen = {"frames": sum(one["frames"] for one in some), "last_t": max(one["last_t"] for one in some)}
            yield {"venue": venue, "s": "*", "stream": f"*@{channel}", "age_s": min(ages, default=None), **seen}

    def _each(self) -> Iterator[dict[str, Any]]:
        now = self._recorder.clock.now()
        for intake in self._recorder.intakes:
            for s, feed in intake.replay.feeds.items():
                for stream in feed.streams.values():
                    age = round((now - stream.last_t) / SECOND, 3) if stream.last_t else None
                    seen = {"frames": stream.frames, "age_s": age, "last_t": stream.last_t}
                    yield {"venue": intake.venue, "s": s, "stream": stream.name, **seen}

    def collect(self) -> Iterable[Metric]:
        """The metrics, made when Prometheus asks. A stream that is closed has no series any more."""
        status = self.status()
        eta = max((fetcher.eta_s() for fetcher in self._fetchers.values()), default=0.0)
        gauges: dict[str, tuple[str, float]] = {
            "tape_connections": ("open sockets", status.connections),
            "tape_queue_bytes": ("frames on the tape that wait to be decoded", status.queue_bytes),
            "tape_behind": ("1: decoding goes on from the tape", int(status.behind)),
            "tape_clock_offset_seconds": ("wall clock minus tape clock", status.clock_offset_ns / SECOND),
            "tape_disk_free_bytes": ("free space where the tapes lie", _free(self._root)),
            "tape_rest_eta_seconds": ("how long the requests that wait will take", eta),
        }
        counters = {
            "tape_written_bytes": ("plain bytes of lines written", status.bytes),
            "tape_writes": ("wake-ups that wrote", self._recorder.writes),
            "tape_write_seconds": ("time spent in appending", self._recorder.write_s),
            "tape_fsyncs": ("times the tapes were brought to the disk", self._recorder.syncs),
            "tape_fsync_seconds": ("time spent in that", self._recorder.sync_s),
        }
        for more in self.more:
            gauges |= {name: (text, value) for name, text, value in more()}
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value=value)
        yield from self._labelled(status)

    def _labelled(self, status: Status) -> Iterator[Metric]:
        frames = CounterMetricFamily("tape_frames", "frames of a stream on one connection", labels=("venue", "s", "stream"))
        ages = GaugeMetricFamily("tape_stream_age_seconds", "since the last frame", labels=("venue", "s", "stream"))
        last = GaugeMetricFamily("tape_last_frame_timestamp_seconds", "when the last frame was read", labels=("venue", "s", "stream"))
        for stream in status.streams:
            labels = (stream["venue"], stream["s"], stream["stream"])
            frames.add_metric(labels, stream["frames"])
            if stream["age_s"] is not None:
                ages.add_metric(labels, stream["age_s"])
                last.add_metric(labels, stream["last_t"] / SECOND)
        gaps = CounterMetricFamily("tape_gaps", "gaps found by the venue's own rule", labels=("venue", "channel"))
        for (venue, channel), number in self._recorder.gaps.items():
            gaps.add_metric((venue, channel), number)
        yield from (frames, ages, last, gaps)
        yield from self._troubles()

    def _troubles(self) -> Iterator[Metric]:
        """By venue, so that what goes wrong has a name."""
        unknown = CounterMetricFamily("tape_unknown_frames", "frames that no decoder could account for", labels=("venue",))
        for venue in dict.fromkeys(intake.venue for intake in self._recorder.intakes):
            unknown.add_metric((venue,), self._recorder.unknowns.get(venue, 0))
        labels = ("venue", "group")
        ended = CounterMetricFamily("tape_reconnects", "sockets that were replaced or lost", labels=(*labels, "reason"))
        failed = CounterMetricFamily("tape_connect_failures", "connection attempts that failed", labels=labels)
        again = CounterMetricFamily("tape_resubscribes", "streams subscribed again by the watchdog", labels=labels)
        opened = GaugeMetricFamily("tape_group_connections", "open sockets of a group of streams", labels=labels)
        silent = GaugeMetricFamily("tape_silent_streams", "streams that should speak and do not", labels=labels)
        for pool in self._pools:
            where = pool.venue, pool.group.name
            for reason, number in pool.reasons.items():
                ended.add_metric((*where, reason), number)
            failed.add_metric(where, pool.failures)
            again.add_metric(where, pool.resubscribes)
            opened.add_metric(where, len(pool.open))
            silent.add_metric(where, len(pool.silent))
        yield from (unknown, ended, failed, again, opened, silent)
        yield from self._rest()

    def _rest(self) -> Iterator[Metric]:
        failed = CounterMetricFamily("tape_rest_failures", "REST requests that failed", labels=("venue",))
        blocked = GaugeMetricFamily(
            "tape_rest_blocked_seconds", "how long the host is left alone, since it said so", labels=("venue", "host")
        )
        weight = GaugeMetricFamily("tape_rest_weight_used", "REST weight used in the interval", labels=("venue", "host"))
        for venue, fetcher in self._fetchers.items():
            for name, host in fetcher.hosts.items():
                weight.add_metric((venue, name), host.budget.used(host.now()))
                blocked.add_metric((venue, name), max(0.0, host.budget.blocked_until - host.now()))
            failed.add_metric((venue,), fetcher.failures)
        yield from (failed, blocked, weight)


def _free(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return 0


class _Collector(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


async def serve(health: Health, host: str, port: int, more: Sequence[Callable[[], Iterable[Metric]]] = ()) -> tuple[web.AppRunner, int]:
    """Start the server; gives it and its port. ``more``: metrics of the output. Raises SettingsError for a port that is taken."""
    registry = CollectorRegistry()
    for collect in (health.collect, *more):
        registry.register(_Collector(collect))

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def state(request: web.Request) -> web.Response:
        status = health.status()
        return web.Response(body=msgspec.json.encode(status), content_type="application/json", status=200 if status.ok else 503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", state)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise SettingsError(f"metrics-port {port} on {host}: {error.strerror}; choose another --metrics-port") from None
    addresses = runner.addresses
    return runner, int(addresses[0][1])
