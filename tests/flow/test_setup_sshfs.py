"""deploy/setup_sshfs_mount.sh: what it says that it would do on macOS and Linux, and what it makes, run against a real sshd."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_access.mount import LINUX, MAC, SSH_OPTIONS, SSHFS_OPTIONS
from tape_access.mount_table import mounted_at, table
from tests.access.test_mount import needs_fuse, until
from tests.support.sshd import Sshd, keygen, sshd
from tests.support.windows import FIRST, content, hot, slug

SCRIPT = Path(__file__).parents[2] / "deploy" / "setup_sshfs_mount.sh"


class Home:
    """A user's home, with programs of its own before those of the system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "programs"
        self.bin.mkdir(parents=True)
        self.settings = {"VPS_HOST": "vps", "VPS_PATH": "data"}

    def program(self, name: str, *lines: str) -> None:
        path = self.bin / name
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)

    def run(self, script: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VPS_", "TAPE_"))}
        settings = {**kept, **self.settings, "HOME": str(self.folder), "PATH": f"{self.bin}:{path or os.environ['PATH']}"}
        command = ["bash", str(script), *words]
        return subprocess.run(command, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)

    def setup(self, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(SCRIPT, *words, path=path)

    def system(self, name: str) -> None:
        self.program("uname", f"echo {name}")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    one = Home(tmp_path / "home")
    # The user's systemd of whoever runs the tests stays alone.
    one.program("systemctl", "exit 1")
    return one


def written(said: str) -> dict[str, str]:
    """What a dry run says that it would write, by file name."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in said.splitlines():
        if match := re.fullmatch(r"would write (.+):", line):
            lines = found[Path(match[1]).name] = []
        elif line.startswith("    ") and lines is not None:
            lines.append(line[4:])
        elif line and not line.startswith("    "):
            lines = None
    return {name: "\n".join(lines) + "\n" for name, lines in found.items()}


def options(script: str) -> set[str]:
    """Those of the sshfs that a script runs."""
    match = re.search(r"^command=\(sshfs (.+)\)$", script, re.M)
    assert match
    return set(shlex.split(match[1])[3].split(","))


def sound(*scripts: Path) -> None:
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    for script in scripts:
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
        if shellcheck:
            ran = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stdout


def test_the_script_is_sound() -> None:
    sound(SCRIPT)
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_a_dry_run_says_all_and_does_nothing(home: Home, system: str, tmp_path: Path) -> None:
    home.system(system)
    for name in ("sshfs", "brew", "launchctl", "ssh", "sudo", "apt-get"):
        home.program(name, f"touch {tmp_path}/was-run; exit 1")
    before = sorted(home.folder.rglob("*"))
    ran = home.setup("--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert sorted(home.folder.rglob("*")) == before and not (tmp_path / "was-run").exists()
    files = written(ran.stdout)
    own = {"Linux": "polymarket-sshfs.service", "Darwin": "com.polymarket.sshfs.plist"}[system]
    assert set(files) == {"mount_polymarket.sh", "unmount_polymarket.sh", own}
    for name in ("mount_polymarket.sh", "unmount_polymarket.sh"):
        (tmp_path / name).write_text(files[name])
        sound(tmp_path / name)
    # The same options as tape mount has.
    assert options(files["mount_polymarket.sh"]) == {*SSHFS_OPTIONS, *SSH_OPTIONS, "ro", *(LINUX if system == "Linux" else MAC)}
    assert {"reconnect", "ServerAliveInterval=15", "cache=yes"} <= options(files["mount_polymarket.sh"])
    assert f"sshfs 'vps:data' '{home.folder}/polymarket'" in files["mount_polymarket.sh"]


def test_the_agent_of_macos(home: Home) -> None:
    home.system("Darwin")
    home.program("sshfs")
    ran = home.setup("--dry-run", "--place", "~/windows")
    agent = plistlib.loads(written(ran.stdout)["com.polymarket.sshfs.plist"].encode())
    assert agent == {
        "Label": "com.polymarket.sshfs",
        "ProgramArguments": [f"{home.folder}/.local/bin/mount_polymarket.sh"],
        "EnvironmentVariables": {"FOREGROUND": "1"},
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 30,
        "StandardErrorPath": f"{home.folder}/Library/Logs/polymarket-sshfs.log",
    }
    assert f"would run: launchctl load -w {home.folder}/Library/LaunchAgents/com.polymarket.sshfs.plist" in ran.stdout
    assert f"would run: mkdir -p {home.folder}/windows" in ran.stdout or f"'{home.folder}/windows'" in ran.stdout


@pytest.mark.parametrize(
    ("system", "tools", "said"),
    [
        (
            "Darwin",
            ["brew"],
            ["would run: brew install --cask macfuse", "would run: brew install gromgit/fuse/sshfs-mac", "Privacy & Security"],
        ),
        ("Darwin", [], ["install Homebrew"]),
        ("Linux", ["apt-get"], ["apt-get install -y -q sshfs fuse3"]),
        ("Linux", ["dnf"], ["dnf install -y fuse-sshfs"]),
        ("Linux", ["pacman"], ["pacman -S --noconfirm sshfs"]),
        ("Linux", [], ["install sshfs by your system's packages"]),
    ],
)
def test_sshfs_is_installed_where_it_is_missing(home: Home, system: str, tools: list[str], said: list[str]) -> None:
    home.system(system)
    for name in ("bash", "dirname", "basename", "sed", "id", "sh"):
        (home.bin / name).symlink_to(str(shutil.which(name)))
    for name in tools:
        home.program(name, "exit 1")
    ran = home.setup("--dry-run", path=str(home.bin))
    assert all(one in ran.stdout + ran.stderr for one in said), ran.stdout + ran.stderr
    assert ran.returncode == (0 if tools else 1)


@pytest.mark.parametrize(
    ("settings", "words", "said"),
    [
        ({"VPS_HOST": ""}, (), "say which machine: export VPS_HOST"),
        ({"VPS_PORT": "ssh"}, (), "VPS_PORT=ssh: expected a number"),
        ({"VPS_PEM_KEY": "/no/key"}, (), "there is no key /no/key"),
        ({"VPS_HOST": "-oProxyCommand=x"}, (), "has signs"),
        ({"VPS_HOST": "vps; touch x"}, (), "has signs"),
        ({"VPS_USER": "$(touch x)"}, (), "has signs"),
        ({"VPS_PATH": "a,allow_other"}, (), "has signs"),
        ({}, ("--place", "/a 'b"), "has signs"),
        ({}, ("--place", "/a\nb"), "has signs"),
        ({}, ("--place",), "--place needs a folder"),
        ({}, ("--dryrun",), "unknown option --dryrun (known: "),
    ],
)
def test_what_is_wrong_is_one_line(home: Home, settings: dict[str, str], words: tuple[str, ...], said: str) -> None:
    home.settings |= settings
    ran = home.setup(*words)
    assert ran.returncode == 2 and said in ran.stderr and ran.stdout == "", ran.stderr
    assert not (home.folder / ".local").exists()


# -- for real --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vps(home: Home, tmp_path: Path) -> Iterator[Sshd]:
    """``vps`` of the home's own ``~/.ssh/config``."""
    hot(tmp_path / "data", FIRST)
    with sshd(tmp_path / "sshd") as server:
        (home.folder / ".ssh").mkdir()
        config = home.folder / ".ssh" / "config"
        config.write_text(
            f"Host vps\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n  IdentityFile {server.key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {server.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        )
        # ssh takes the home of the passwd file, not HOME.
        for name in ("ssh", "ssh-copy-id"):
            home.program(name, f'exec {shutil.which(name)} -F {config} "$@"')
        home.settings["VPS_PATH"] = str(tmp_path / "data")
        try:
            yield server
        finally:
            for pid in server.sessions("sftp-server"):
                os.kill(pid, signal.SIGCONT)
            for there in [one.point for one in table() if one.point.startswith(f"{tmp_path}/")]:
                subprocess.run(["fusermount3", "-uz", there], check=True)


@needs_fuse
def test_what_it_makes_mounts_and_unmounts(home: Home, vps: Sshd) -> None:
    ran = home.setup()
    place = home.folder / "polymarket"
    assert ran.returncode == 0 and "vps lets us in" in ran.stdout, ran.stdout + ran.stderr
    assert mounted_at(place) and (place / "real_hot" / f"{slug(FIRST)}.jsonl").read_bytes() == content(FIRST)
    mount, unmount = (home.folder / ".local" / "bin" / name for name in ("mount_polymarket.sh", "unmount_polymarket.sh"))
    sound(mount, unmount)
    assert home.run(mount).stdout == f"{place} is mounted already\n"
    # It may be run again.
    assert home.setup().returncode == 0 and mounted_at(place)
    for _ in range(2):
        ran = home.run(unmount)
        assert ran.returncode == 0 and ran.stdout == f"{place} is not mounted\n" and not mounted_at(place), ran.stderr
    ran = home.run(mount)
    assert ran.returncode == 0 and ran.stdout.endswith(f" is mounted at {place}\n") and mounted_at(place)
    ran = home.setup("--remove")
    assert ran.returncode == 0 and not mounted_at(place) and not mount.exists() and not unmount.exists()
    assert not (home.folder / ".config/systemd/user/polymarket-sshfs.service").exists()


@needs_fuse
def test_the_mount_script_mends_what_hangs(home: Home, vps: Sshd) -> None:
    assert home.setup().returncode == 0
    place = home.folder / "polymarket"
    for pid in vps.sessions("sftp-server"):
        os.kill(pid, signal.SIGSTOP)
    reader = subprocess.Popen(["cat", str(place / "real_hot" / f"{slug(FIRST)}.jsonl")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ran = home.run(home.folder / ".local/bin/mount_polymarket.sh")
    assert ran.returncode == 0 and ran.stdout.endswith(f" is mounted at {place}\n"), ran.stdout + ran.stderr
    assert (place / "real_hot" / f"{slug(FIRST)}.jsonl").read_bytes() == content(FIRST)
    reader.communicate(timeout=60)
    assert reader.returncode


@needs_fuse
def test_a_service_owns_its_mount(home: Home, vps: Sshd) -> None:
    """In the foreground: what is mounted before is taken over, the end of sshfs is its end, and what follows takes down what is left."""
    assert home.setup().returncode == 0
    place, scripts = home.folder / "polymarket", home.folder / ".local" / "bin"
    source = mounted_at(place)
    path = {"PATH": f"{home.bin}:{os.environ['PATH']}", "HOME": str(home.folder), "FOREGROUND": "1"}
    child = subprocess.Popen([str(scripts / "mount_polymarket.sh")], env={**os.environ, **path}, start_new_session=True)
    try:
        until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sshfs\n" and mounted_at(place) == source)
        until(lambda: (place / "real_hot").is_dir())
    finally:
        child.kill()
        child.wait()
    home.settings["FOREGROUND"] = "1"
    assert home.run(scripts / "unmount_polymarket.sh").returncode == 0 and not mounted_at(place)


@needs_fuse
def test_a_folder_that_holds_something_is_not_hidden(home: Home, vps: Sshd) -> None:
    place = home.folder / "polymarket"
    place.mkdir()
    (place / "mine").write_text("mine")
    ran = home.setup()
    assert ran.returncode == 1 and "is not empty" in ran.stderr and (place / "mine").read_text() == "mine" and not mounted_at(place)


def test_who_is_not_let_in_yet_is_told_how(home: Home, vps: Sshd) -> None:
    home.program("sshfs", "exit 1")
    vps.known_hosts.write_text("")
    for _ in range(2):
        ran = home.setup()
        assert ran.returncode == 1 and "ssh-copy-id vps\n" in ran.stdout and "fingerprint" in ran.stdout and "run this again" in ran.stderr
    # A key was made, since there was none.
    assert (home.folder / ".ssh/id_ed25519").exists() and not (home.folder / ".local").exists()
    vps.known_hosts.write_text("* " + keygen(home.folder / "another").with_suffix(".pub").read_text())
    ran = home.setup()
    assert ran.returncode == 1 and "somebody may stand in between" in ran.stderr and not (home.folder / ".local").exists()
    home.settings["VPS_HOST"] = "no-such-machine.invalid"
    ran = home.setup()
    assert ran.returncode == 1 and "cannot reach no-such-machine.invalid" in ran.stderr and ran.stderr.count("\n") == 1


@needs_fuse
def test_a_mount_that_fails_says_what_ssh_says(home: Home, vps: Sshd) -> None:
    assert home.setup().returncode == 0
    scripts = home.folder / ".local" / "bin"
    assert home.run(scripts / "unmount_polymarket.sh").returncode == 0
    vps.known_hosts.write_text("")
    ran = home.run(scripts / "mount_polymarket.sh")
    assert ran.returncode == 1 and "Host key verification failed" in ran.stderr and "could not be mounted" in ran.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@needs_fuse
def test_the_unit_of_linux(home: Home, vps: Sshd, tmp_path: Path) -> None:
    assert home.setup().returncode == 0
    unit = home.folder / ".config/systemd/user/polymarket-sshfs.service"
    (tmp_path / "run").mkdir(mode=0o700)
    settings = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(home.folder)}

    def verified() -> tuple[int, str]:
        command = ["systemd-analyze", "verify", "--user", str(unit)]
        ran = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stderr

    code, said = verified()
    assert code == 0 and "polymarket" not in said, said
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    assert "polymarket-sshfs.service" in verified()[1]
