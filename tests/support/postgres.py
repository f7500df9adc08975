"""A PostgreSQL server of the tests' own, in a folder, on loopback. Run as an unprivileged user, since it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.sshd import free_port


def program(name: str) -> str:
    """Where a program of PostgreSQL is: Debian does not put them on the path."""
    found = shutil.which(name)
    if found:
        return found
    for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    raise FileNotFoundError(f"no {name}: install PostgreSQL (Debian: apt-get install postgresql)")


class Postgres:
    """``start``, ``kill`` (SIGKILL to the server and all its processes) and ``start`` again."""

    def __init__(self, data: Path | None = None) -> None:
        """``data``: where its data lies; the write-ahead log is never there."""
        # Not below pytest's own folder: only root may enter that one.
        self.folder = Path(tempfile.mkdtemp(prefix="tapeline-postgres-"))
        self.data = data or self.folder / "data"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._user: Callable[[], None] | None = None
        if os.getuid() == 0:
            who = pwd.getpwnam("postgres" if any(one.pw_name == "postgres" for one in pwd.getpwall()) else "nobody")
            os.chown(self.folder, who.pw_uid, who.pw_gid)

            def demote() -> None:
                os.setgroups([])
                os.setgid(who.pw_gid)
                os.setuid(who.pw_uid)

            self._user = demote
        command = [program("initdb"), "-D", str(self.data), f"--waldir={self.folder}/wal", "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        subprocess.run([*command, "--locale=C", "-N"], check=True, preexec_fn=self._user, cwd=self.folder, stdout=subprocess.DEVNULL)

    def url(self, schema: str = "", **options: object) -> str:
        """What ``open_tables`` takes."""
        query = "&".join(f"{name}={value}" for name, value in {"schema": schema, **options}.items() if value)
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?{query}"

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "max_wal_size": "256MB"}
        command = [program("postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, preexec_fn=self._user, cwd=self.folder, stderr=log)
        deadline = time.monotonic() + 60
        ready = [program("pg_isready"), "-q", "-U", "postgres", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready).returncode:
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut, but for the disk's cache."""
        assert self.process is not None
        everyone = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for one in everyone:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()
        psutil.wait_procs(everyone, timeout=20)

    def stop(self) -> None:
        """And remove all of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
