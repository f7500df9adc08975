"""A real sshd on loopback, with keys and configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tape_archive.stores.sftp import SftpStore, Target

SFTP_SERVER = next((path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server") if Path(path).exists()), "internal-sftp")
_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 100:30:200
MaxSessions 100
LogLevel ERROR
Subsystem sftp {server}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def keygen(path: Path) -> Path:
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


class Sshd:
    """``target()`` reaches it, or a proxy before it by ``port``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.user = getpass.getuser()
        self.key = keygen(folder / "client")
        shutil.copy(folder / "client.pub", folder / "authorized")
        self.process: subprocess.Popen[bytes] | None = None
        self.new_host_key()
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder, server=SFTP_SERVER))
        self.trust()

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def new_host_key(self) -> None:
        """From the next start on, the server is somebody else."""
        keygen(self.folder / "host")

    def trust(self) -> None:
        """The client knows the host key, whatever port or proxy leads there."""
        kind, key = (self.folder / "host.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"* {kind} {key}\n")

    def start(self) -> None:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "config")], stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            time.sleep(0.02)
        raise RuntimeError("sshd does not listen")

    def stop(self) -> None:
        """The server and all its sessions."""
        if self.process is None:
            return
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        self.process.terminate()
        self.process.wait()
        self.process = None

    def sessions(self, name: str = "") -> list[int]:
        """The processes below the server, or those of them that run ``name``."""
        assert self.process is not None
        found, look = [], [self.process.pid]
        while look:
            parent = look.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{parent}/task").iterdir():
                    children = [int(pid) for pid in (task / "children").read_text().split()]
                    look += children
                    found += children
        return [pid for pid in found if not name or name in _comm(pid)]

    def target(self, port: int = 0, key: Path | None = None) -> Target:
        options = (f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null")
        return Target("127.0.0.1", self.user, port or self.port, str(key or self.key), options)

    def store(self, root: Path, port: int = 0, seconds: float = 20.0) -> SftpStore:
        return SftpStore(self.target(port), str(root), seconds=seconds)


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    folder.mkdir(parents=True, exist_ok=True)
    server = Sshd(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
