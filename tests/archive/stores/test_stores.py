"""One suite for every store: a folder, a real sshd, a real S3 server; plain and wrapped."""

from __future__ import annotations

import contextlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from tape_archive.format.errors import NotFound, SettingsError, StoreDenied, StoreError, StoreUnavailable
from tape_archive.stores import Entry, LocalStore, Store, open_store
from tape_archive.stores.fallback import Fallback
from tape_archive.stores.limits import Limited, Retrying
from tape_archive.stores.s3 import S3Store
from tape_archive.stores.sftp import SftpStore
from tape_archive.stores.store import inside
from tests.support.sshd import Sshd, keygen, sshd
from tests.support.wire import wire

BLOB = random.Random(1).randbytes(700_001)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real server on loopback."""
    from moto.server import ThreadedMotoServer

    one = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    one.start()
    host, port = one.get_host_and_port()
    yield f"http://{host}:{port}"
    one.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "two", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


#: each by itself, and what is put around them
KINDS = ["local", "sftp", "s3", "retrying", "limited", "retrying limited sftp", "fallback", "fallback, the first is away"]


class Away(LocalStore):
    """Nobody answers."""

    def _path(self, path: str) -> Path:
        inside(path)
        raise StoreUnavailable(f"cannot reach {path}")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, credentials: None) -> Iterator[Store]:
    root = tmp_path / "root"
    root.mkdir()
    made: Store
    if request.param == "sftp":
        made = request.getfixturevalue("server").store(root)
    elif request.param == "s3":
        made = S3Store.of_url(
            f"s3://{tmp_path.name.lower().replace('_', '-')[:50]}-b/some/prefix?endpoint={request.getfixturevalue('bucket')}&region=us-east-1"
        )
        made._client().create_bucket(Bucket=made.bucket)
    elif request.param == "retrying limited sftp":
        made = Retrying(Limited(request.getfixturevalue("server").store(root), calls=1e6, bytes_per_s=1e12))
    elif request.param == "fallback":
        made = Fallback(LocalStore(root), LocalStore(root))
    elif request.param == "fallback, the first is away":
        made = Fallback(Away(root), LocalStore(root))
    elif request.param == "retrying":
        made = Retrying(LocalStore(root))
    elif request.param == "limited":
        made = Limited(LocalStore(root), calls=1e6, bytes_per_s=1e12)
    else:
        made = LocalStore(root)
    with contextlib.closing(made):
        yield made


def put(store: Store, path: str, content: bytes) -> Entry:
    return store.put(path, io.BytesIO(content))


def test_what_is_put_is_there_whole(store: Store) -> None:
    entry = put(store, "a/b/c.bin", BLOB)
    assert (entry.path, entry.name, entry.bytes, entry.folder) == ("a/b/c.bin", "c.bin", len(BLOB), False)
    assert store.stat("a/b/c.bin") == entry and store.stat("a//b/./c.bin").bytes == len(BLOB)
    assert store.read("a/b/c.bin") == BLOB == b"".join(store.chunks("a/b/c.bin")) == b"".join(store.chunks("a/b/c.bin", size=len(BLOB)))
    assert store.read("a/b/c.bin", 5, 10) == BLOB[5:15] and store.read("a/b/c.bin", len(BLOB) - 3) == BLOB[-3:]
    assert store.read("a/b/c.bin", 7, 0) == b"" == store.read("a/b/c.bin", len(BLOB)) == store.read("a/b/c.bin", len(BLOB) + 9)
    assert store.read("a/b/c.bin", len(BLOB) - 2, 100) == BLOB[-2:]
    assert b"".join(store.chunks("a/b/c.bin", 700_000)) == BLOB[-1:]
    put(store, "a/b/c.bin", b"shorter")
    assert store.read("a/b/c.bin") == b"shorter" and store.stat("a/b/c.bin").bytes == 7
    put(store, "empty", b"")
    assert store.read("empty") == b"" == b"".join(store.chunks("empty"))
    source = io.BytesIO(b"not this:but this")
    source.seek(9)
    store.put("part", source)
    assert store.read("part") == b"but this"


@pytest.mark.parametrize("wrong", [1, 699_999, 800_000])
def test_a_size_that_is_wrong_does_not_change_what_is_read(store: Store, wrong: int) -> None:
    put(store, "x", BLOB)
    assert b"".join(store.chunks("x", size=wrong)) == BLOB


def test_folders(store: Store) -> None:
    for n in range(250):
        put(store, f"many/{n:03d}", b"x" * n)
    put(store, "many/deeper/one", b"1")
    put(store, "many/.x.123.tmp", b"in the making")
    put(store, "many/.index", b"hidden names are files")
    found = store.list("many")
    assert [entry.name for entry in found] == [".index", *(f"{n:03d}" for n in range(250)), "deeper"]
    assert [entry.bytes for entry in found if not entry.folder and entry.name != ".index"] == list(range(250))
    assert [entry.path for entry in found if entry.folder] == ["many/deeper"] and store.stat("many").folder
    assert [entry.name for entry in store.list()] == ["many"]


def test_what_is_not_there(store: Store) -> None:
    put(store, "there/file", b"1")
    for call in (store.stat, store.read, store.list, lambda path: list(store.chunks(path))):
        with pytest.raises(NotFound):
            call("there/nothing")
    store.delete("there/nothing")
    store.delete("nowhere/nothing")
    store.delete("there/file")
    with pytest.raises(NotFound):
        store.stat("there/file")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/\0b", "..", "a\\..\\b"])
def test_a_path_that_leads_out_is_refused(store: Store, path: str) -> None:
    for call in (store.stat, store.read, store.list, store.delete, lambda one: put(store, one, b""), lambda one: list(store.chunks(one))):
        with pytest.raises(StoreDenied, match="leads out"):
            call(path)


@pytest.mark.parametrize("kind", ["local", "sftp"])
def test_a_link_that_leads_out_is_refused(kind: str, tmp_path: Path, server: Sshd) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (root / "in" / "file").write_text("open")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "file").symlink_to(tmp_path / "secret" / "file")
    (root / "neighbour").symlink_to(tmp_path / "root2")
    (tmp_path / "root2").write_text("a name that begins the same")
    (root / "ok").symlink_to(root / "in" / "file")
    store: Store = LocalStore(root) if kind == "local" else server.store(root)
    with contextlib.closing(store):
        assert store.read("ok") == b"open"
        for path in ("out/file", "file", "neighbour"):
            for call in (store.stat, store.read, lambda one: list(store.chunks(one))):
                with pytest.raises(StoreDenied):
                    call(path)
        with pytest.raises(StoreDenied):
            store.list("out")
        with pytest.raises(StoreDenied):
            put(store, "out/new", b"1")
        with pytest.raises(StoreDenied):
            store.delete("out/file")
        assert sorted(path.name for path in (tmp_path / "secret").iterdir()) == ["file"]
        assert "out" not in [entry.name for entry in store.list()]


def test_many_threads(store: Store) -> None:
    contents = {f"t/{n}": random.Random(n).randbytes(50_000 + n) for n in range(24)}
    problems = []

    def work(number: int) -> None:
        try:
            for path, content in contents.items():
                if int(path[2:]) % 8 == number:
                    put(store, path, content)
            for _ in range(3):
                for path in contents:
                    if int(path[2:]) % 8 == number:
                        assert store.read(path) == contents[path]
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and len(store.list("t")) == 24


def test_a_put_that_fails_leaves_nothing(store: Store) -> None:
    put(store, "kept/file", b"before")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 200_000:
                raise ValueError("the source is gone")
            return super().read(min(size or 65536, 65536) if size != -1 else 65536)

    with pytest.raises(ValueError, match="the source is gone"):
        store.put("kept/file", Broken(BLOB))
    assert store.read("kept/file") == b"before" and [entry.name for entry in store.list("kept")] == ["file"]
    if not isinstance(store, S3Store):
        base: object = store
        while not hasattr(base, "root"):
            base = getattr(base, "store", None) or base.second  # type: ignore[attr-defined]
        root = Path(base.root)
        for _ in range(100):
            if len(list((root / "kept").iterdir())) == 1:
                break
            threading.Event().wait(0.02)
        assert [path.name for path in (root / "kept").iterdir()] == ["file"]


# -- the SSH store ---------------------------------------------------------------------------------------------------------------


def test_sftp_goes_on_after_the_connection_was_cut(tmp_path: Path, server: Sshd) -> None:
    """At sampled boundaries of a transfer, and when the server starts anew."""
    (tmp_path / "file").write_bytes(BLOB)
    with wire(server.port) as between, contextlib.closing(server.store(tmp_path, between.port)) as store:
        store.stat("file")
        assert between.connections == 1
        for cut in range(20_000, 720_000, 70_007):
            between.cut_after = None
            store.close()
            store.stat("file")
            begun, got = between.connections, io.BytesIO()
            for chunk in store.chunks("file", size=len(BLOB)):
                got.write(chunk)
                if got.tell() > cut and between.connections == begun:
                    between.cut()
                    begun -= 1
            assert got.getvalue() == BLOB


def test_sftp_errors_say_what_to_do(tmp_path: Path, server: Sshd) -> None:
    (tmp_path / "file").write_text("x")
    with contextlib.closing(server.store(tmp_path)) as store:
        assert store.read("file") == b"x"
    stranger = SftpStore(server.target(key=keygen(tmp_path / "other")), str(tmp_path))
    with contextlib.closing(stranger), pytest.raises(StoreDenied, match="refused our key"):
        stranger.read("file")
    unknown = tmp_path / "known"
    unknown.write_text("")
    target = server.target()
    options = (f"UserKnownHostsFile={unknown}", "GlobalKnownHostsFile=/dev/null")
    with pytest.raises(StoreDenied, match=r"is not known yet: .* accept it once by: ssh -p \d+"):
        SftpStore(type(target)(target.host, target.user, target.port, target.key, options), str(tmp_path)).read("file")
    unknown.write_text("* " + (keygen(tmp_path / "third").with_name("third.pub")).read_text())
    with pytest.raises(StoreDenied, match=r"host key of .* is not the one that is known"):
        SftpStore(type(target)(target.host, target.user, target.port, target.key, options), str(tmp_path)).read("file")
    with wire(server.port) as between:
        between.refuse = True
        with pytest.raises(StoreUnavailable, match="cannot reach"):
            server.store(tmp_path, between.port).read("file")
    with pytest.raises(NotFound):
        server.store(tmp_path / "nowhere").list()


def test_sftp_that_hangs_is_not_waited_for(tmp_path: Path, server: Sshd) -> None:
    (tmp_path / "file").write_bytes(BLOB)
    with wire(server.port) as between:
        store = server.store(tmp_path, between.port, seconds=2.0)
        assert store.read("file") == BLOB
        between.frozen = True
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            store.read("file")
        between.frozen = False
        assert store.read("file") == BLOB
        store.close()


@pytest.mark.parametrize(
    "url", ["sftp://", "sftp://host:port/x", "sftp://user:secret@host/x", "ftp://x", "s3://", "s3://key@bucket/", "s3://bucket?x=1"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError):
        open_store(url)


def test_a_place_as_scp_writes_it_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"do you mean sftp://me@vps\.example/~/polymarket\?"):
        open_store("me@vps.example:polymarket")
    with pytest.raises(SettingsError, match=r"do you mean sftp://vps/~/polymarket\?"):
        open_store("vps:~/polymarket")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name").mkdir()
    assert isinstance(open_store("odd:name"), LocalStore)


def test_urls() -> None:
    one = open_store("sftp://me@vps.example:2222/~/polymarket")
    assert isinstance(one, SftpStore) and (one.root, one.target.port, one.target.user) == ("polymarket", 2222, "me")
    assert one.url == "sftp://me@vps.example:2222/~/polymarket"
    assert isinstance(open_store("s3://bucket/a/b"), S3Store) and isinstance(open_store("/tmp"), LocalStore)
    with pytest.raises(SettingsError):
        open_store("sftp://-oProxyCommand=evil/x").read("y")


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        put(LocalStore(tmp_path / "file"), "a", b"")


# -- around stores ---------------------------------------------------------------------------------------------------------------


class Flaky(LocalStore):
    """Fails every other call, and every transfer in its middle."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls = 0

    def _maybe(self) -> None:
        self.calls += 1
        if self.calls % 2:
            raise StoreUnavailable("away")

    def stat(self, path: str) -> Entry:
        self._maybe()
        return super().stat(path)

    def list(self, folder: str = "") -> list[Entry]:
        self._maybe()
        return super().list(folder)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        self._maybe()
        return super().read(path, offset, length)

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        self._maybe()
        yield super().read(path, offset, 1000)
        if offset + 1000 < len(BLOB) // 100:
            raise StoreUnavailable("away in the middle")

    def put(self, path: str, source: BinaryIO) -> Entry:
        source.read(10)
        self._maybe()
        source.seek(-10, os.SEEK_CUR)
        return super().put(path, source)


def test_retrying_tries_again_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    pauses: list[float] = []
    flaky = Flaky(tmp_path)
    store = Retrying(flaky, (0.1, 0.2), pauses.append)
    put(store, "x", BLOB[: len(BLOB) // 100])
    assert store.read("x") == BLOB[: len(BLOB) // 100] == b"".join(store.chunks("x"))
    assert store.stat("x").bytes == len(BLOB) // 100 and store.list()
    assert pauses and set(pauses) <= {0.1, 0.2}

    class Gone(LocalStore):
        def stat(self, path: str) -> Entry:
            raise StoreUnavailable("gone")

    pauses.clear()
    with pytest.raises(StoreUnavailable):
        Retrying(Gone(tmp_path), (1.0, 2.0), pauses.append).stat("x")
    assert pauses == [1.0, 2.0]
    with pytest.raises(NotFound):
        Retrying(LocalStore(tmp_path), (1.0,), pauses.append).stat("none")
    assert pauses == [1.0, 2.0]


def test_while_the_first_side_hangs_the_second_is_connected(tmp_path: Path) -> None:
    """Else who asks would wait for one after the other."""
    connected = threading.Event()

    class Hangs(LocalStore):
        def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
            assert connected.wait(60), "nobody connected meanwhile"
            raise StoreUnavailable("the mount hangs")

        def stats(self, paths: Sequence[str]) -> list[Entry | None]:
            self.read("")
            return []

        def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
            yield self.read("")

    class Far(LocalStore):
        def stat(self, path: str) -> Entry:
            connected.set()
            return super().stat(path)

    put(LocalStore(tmp_path), "x", b"1")
    for call in (lambda one: one.read("x"), lambda one: b"".join(one.chunks("x")), lambda one: one.stats(["x"])[0] and b"1"):
        connected.clear()
        assert call(Fallback(Hangs(tmp_path), Far(tmp_path))) == b"1"
    # One that answers connects nobody.
    connected.clear()
    assert Fallback(LocalStore(tmp_path), Far(tmp_path)).read("x") == b"1" and not connected.is_set()


def test_limited_keeps_its_rates(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    LocalStore(tmp_path).put("x", io.BytesIO(bytes(1000)))
    store = Limited(LocalStore(tmp_path), calls=10, clock=clock, sleep=sleep)
    for _ in range(31):
        store.stat("x")
    assert now[0] == pytest.approx(3.0)
    now[0] = 0.0
    store = Limited(LocalStore(tmp_path), bytes_per_s=1000, clock=clock, sleep=sleep)
    for _ in range(6):
        assert len(store.read("x")) == 1000
    assert now[0] == pytest.approx(5.0)


def test_s3_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, credentials: None, bucket: str) -> None:
    with pytest.raises(NotFound):
        S3Store("no-such-bucket-at-all", endpoint=bucket, region="us-east-1").list("x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreDenied, match="no credentials"):
        S3Store("b", endpoint=bucket, region="us-east-1").stat("x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnavailable):
        S3Store("b", endpoint="http://127.0.0.1:9", region="us-east-1").stat("x")
