"""The archive on another machine: windows and tapes go to a real sshd and to a real S3 server, verified, and are read from there."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tape_access import DataAccessor
from tape_archive.archiver.move import read_manifest
from tape_archive.format import cursor, manifest
from tape_archive.format.compression import plain
from tape_archive.format.layout import segments
from tape_archive.stores import Store
from tape_archive.stores.s3 import S3Store
from tests.archive.archiver.test_prune import tapes
from tests.support.recording import environment
from tests.support.sshd import sshd
from tests.support.tapes import NOON, SECOND
from tests.support.windows import FIRST, LENGTH, record, slug

LATER = NOON / SECOND + 30 * 86_400
ONE = {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


class Place(msgspec.Struct):
    """Where the archive goes: its URL for the command, its environment, and the same store for who reads."""

    url: str
    environment: dict[str, str]
    store: Any


@pytest.fixture(params=["sftp", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "s3":
        from moto.server import ThreadedMotoServer

        for name, value in ONE.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"s3://tapes/vps?endpoint=http://{host}:{port}&region=us-east-1"
        store = S3Store.of_url(url)
        store._client().create_bucket(Bucket="tapes")
        yield Place(url, environment(), store)
        store.close()
        server.stop()
        return
    with sshd(tmp_path / "sshd") as one:
        (tmp_path / "there").mkdir()
        # What ~/.ssh/config says elsewhere: which key, and which hosts are known.
        ssh = tmp_path / "bin" / "ssh"
        ssh.parent.mkdir()
        options = f"-i {one.key} -o IdentitiesOnly=yes -o UserKnownHostsFile={one.known_hosts} -o GlobalKnownHostsFile=/dev/null"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {options} "$@"\n')
        ssh.chmod(0o755)
        store = one.store(tmp_path / "there")
        url = f"sftp://{one.user}@127.0.0.1:{one.port}{tmp_path}/there"
        yield Place(url, environment(PATH=f"{ssh.parent}{os.pathsep}{os.environ['PATH']}"), store)
        store.close()


def tape(name: str, root: Path, place: Place, *options: str) -> tuple[int, dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "tape_archive",
        name,
        "--root",
        str(root),
        "--now",
        str(LATER),
        "--json",
        "--target",
        place.url,
        *options,
    ]
    ran = subprocess.run(command, env=place.environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {"error": ran.stderr}


def held(store: Store, path: str) -> str:
    return hashlib.sha256(b"".join(plain(path, store.chunks(path)))).hexdigest()


def content(path: Path) -> str:
    return hashlib.sha256(b"".join(plain(path.name, [path.read_bytes()]))).hexdigest()


def test_windows_and_tapes_go_there_and_are_read_from_there(tmp_path: Path, place: Place) -> None:
    root = tmp_path / "vps"
    sums = record(root, 5)
    raw = {name: content(root / name) for name in tapes(root, 4)}
    spare = tmp_path / "spare"
    shutil.copytree(root, spare)
    code, told = tape("archive", root, place, "--dry-run")
    assert code == 0 and len(told["moved"]) == 5 and len(told["packed"]) == 4 and not read_manifest(place.store, "real_archive/2026-01")
    code, done = tape("archive", root, place)
    assert code == 0 and done | {"dry_run": True} == told, "the dry run had measured it"
    # Nothing of it is here any more, and all of it is there, as it was.
    assert not list((root / "real_hot").glob("btc*")) and not manifest.read(root / "real_hot") and not segments(root)
    assert {name: held(place.store, name) for name in raw} == raw
    entries = read_manifest(place.store, "real_archive/2026-01")
    assert {name.partition(".")[0]: entry.plain_sha256 for name, entry in entries.items()} == sums
    folder = os.path.dirname(next(iter(raw)))  # noqa: PTH120
    for name, entry in read_manifest(place.store, folder).items():
        stored = place.store.read(f"{folder}/{name}")
        assert (entry.bytes, entry.sha256) == (len(stored), hashlib.sha256(stored).hexdigest()) and entry.plain_sha256 == raw[
            f"{folder}/{name}"
        ]
    with DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=place.store) as data:
        assert data.list_all_windows() == [FIRST + n * LENGTH for n in range(5)]
        for n in range(5):
            found = hashlib.sha256(data.get_window_jsonl(FIRST + n * LENGTH).read_bytes()).hexdigest()
            assert found == sums[slug(FIRST + n * LENGTH)]
        assert data.read_window(FIRST).result == "Up"
    code, again = tape("archive", root, place)
    assert code == 0 and not again["moved"] and not again["packed"]
    # A machine that still has the tapes lets them go, since they were read there.
    code, told = tape("prune", spare, place, "--keep", "raw=1", "--apply")
    assert code == 0 and len(told["deleted"]) == 3 and len(segments(spare)) == 1, told


def test_tapes_that_a_consumer_still_needs_do_not_leave(tmp_path: Path, place: Place) -> None:
    root = tmp_path / "vps"
    names = tapes(root, 4)
    cursor.save(root / "state" / "ticks.cursor", cursor.Cursor(t=NOON + 2 * 3600 * SECOND))
    code, done = tape("archive", root, place)
    assert code == 0 and [one["name"] for one in done["packed"]] == names[:2]
    assert [str(one.file.relative_to(root)) for one in segments(root)] == names[2:]


def test_killed_on_the_way_there(tmp_path: Path, place: Place) -> None:
    """A window or tape is here or there, whole, whenever the archiver is killed; and it ends as if it never was."""
    root, chance = tmp_path / "vps", random.Random(5)
    sums = record(root, 40)
    raw = {name: content(root / name) for name in tapes(root, 6)}
    command = [sys.executable, "-m", "tape_archive", "archive", "--root", str(root), "--now", str(LATER), "--target", place.url]
    cuts = 0
    for _ in range(6):
        child = subprocess.Popen(command, env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = len(_there(place.store))
        # Until something more is there, and then a moment.
        while child.poll() is None and len(_there(place.store)) == seen:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        cuts += child.poll() is None
        child.kill()
        child.wait()
        for name, wanted in sums.items():
            here = root / "real_hot" / f"{name}.jsonl"
            assert content(here) == wanted if here.exists() else held(place.store, f"real_archive/2026-01/{name}.jsonl.zst") == wanted, name
        for name, wanted in raw.items():
            assert (content(root / name) if (root / name).exists() else held(place.store, name)) == wanted, name
    assert subprocess.run(command, env=place.environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert cuts and not segments(root)
    assert {
        name.partition(".")[0]: entry.plain_sha256 for name, entry in read_manifest(place.store, "real_archive/2026-01").items()
    } == sums


def _there(store: Store) -> set[str]:
    from tape_archive.format.errors import NotFound

    found: set[str] = set()
    for folder in ("real_archive/2026-01", f"raw/binance_spot/spot/{time.strftime('%Y-%m-%d', time.gmtime(NOON / SECOND))}"):
        try:
            found |= {entry.path for entry in store.list(folder)}
        except NotFound:
            continue
    return found
