"""The load server in a process of its own: ``python -m benchmarks.serve <folder> <symbols> <rate> <tls>``.

A valid market for ever (see ``simulator.load``): a quarter of the frames are depth updates of some 60 levels, the rest quotes and trades.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

from tape_collectors.simulator.load import Cycle, Load, Wire


def certificate(folder: Path) -> tuple[ssl.SSLContext | None, str]:
    """A private certificate for the loopback, where openssl is at hand."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    try:
        subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None, ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, str(cert)


def serve(folder: Path, symbols: int, rate: float, tls: bool) -> None:
    """Serve until ended."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})

    async def run() -> None:
        context, ca = certificate(folder) if tls else (None, "")
        cycle = Cycle(symbols, futures=True, frames=max(20_000, 60 * symbols), depth_every=3, levels=28, speed="@100ms")
        streams = sorted({template.stream for template in cycle.templates})
        size = len(Wire(cycle, set(streams), combined=True).buffer) / len(cycle.templates)
        server = Load(cycle, rate=rate, tls=context)
        await server.start()
        ports = {"rest": server.rest, "ws": server.ws, "ca": ca, "symbols": list(cycle.updates), "streams": streams, "mean": size}
        (folder / "ports.tmp").write_text(json.dumps(ports))
        (folder / "ports.tmp").rename(folder / "ports.json")
        await asyncio.sleep(3600)

    asyncio.run(run())


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), bool(int(sys.argv[4])))
