"""ClickHouse's HTTP interface before the embedded engine: ``python -m tests.support.clickhouse_http <folder> <port>``.

So the client speaks to a server over a socket, with the errors that sockets have, and a real ClickHouse engine does what it asks. It is not the
server: no users, no sessions, no Keeper.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import lz4.frame
import zstandard
from aiohttp import web

from tests.support.recording import environment
from tests.support.sshd import free_port

_OURS = {
    "query",
    "database",
    "session_id",
    "query_id",
    "client_protocol_version",
    "wait_end_of_query",
    "compress",
    "enable_http_compression",
}
_OURS |= {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "buffer_size", "session_timeout", "role", "quota_key"}


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        return bytes(lz4.frame.decompress(body))
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body


class Face:
    """One engine, one statement at a time."""

    def __init__(self, folder: str) -> None:
        import chdb

        self._engine: Any = chdb.connect(folder)
        self._turn = asyncio.Lock()

    async def answer(self, request: web.Request) -> web.Response:
        body = _plain(await request.read(), request.headers.get("Content-Encoding", ""))
        sql = request.query.get("query")
        data, sql = (b"", body.decode()) if sql is None else (body, sql)
        settings = {name: value for name, value in request.query.items() if name not in _OURS and not name.startswith("param_")}
        async with self._turn:
            try:
                content = await asyncio.get_running_loop().run_in_executor(
                    None, self._run, sql, data, settings, request.query.get("database", "")
                )
            except RuntimeError as error:
                text = str(error)
                code = re.search(r"Code: (\d+)", text)
                return web.Response(status=500, text=text, headers={"X-ClickHouse-Exception-Code": code[1] if code else "1"})
        return web.Response(body=content, headers={"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Format": "Native"})

    def _run(self, sql: str, data: bytes, settings: dict[str, str], database: str) -> bytes:
        if database:
            self._engine.query(f"USE `{database}`")
        clause = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        if data:
            match = re.match(r"(?s)(.*?)\s+FORMAT\s+(\w+)\s*$", sql.strip())
            assert match is not None, sql
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                what = f"{match[1]} FROM INFILE '{file.name}' {f'SETTINGS {clause}' if clause else ''} FORMAT {match[2]}"
                self._engine.query(what)
            return b""
        match = re.match(r"(?s)(.*?)\s+FORMAT\s+(\w+)\s*;?\s*$", sql.strip())
        plain, form = (match[1], match[2]) if match else (sql, "TabSeparated")
        if clause and plain.lstrip()[:6].upper() in ("SELECT", "DELETE", "WITH"):
            plain = f"{plain} SETTINGS {clause}"
        return bytes(self._engine.query(plain, form).bytes() or b"")


class Server:
    """The face as a process: ``start``, ``kill`` and ``start`` again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"clickhouse://127.0.0.1:{self.port}/{database}?ttl=0"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.clickhouse_http", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, env=environment())
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    stop = kill


async def _pong(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


if __name__ == "__main__":
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/ping", _pong)
    app.router.add_route("*", "/", Face(sys.argv[1]).answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None)
