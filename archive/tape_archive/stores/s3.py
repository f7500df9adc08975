"""A bucket of S3-compatible storage (AWS, MinIO, R2, …). A put is whole or not at all by nature."""

from __future__ import annotations

import builtins
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import parse_qs, urlsplit

from tape_archive.format.errors import NotFound, SettingsError, StoreDenied, StoreError, StoreUnavailable
from tape_archive.stores.store import CHUNK, Entry, hidden, inside, there

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_DENIED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


class S3Store:
    """Objects under ``prefix`` of a bucket. Credentials come from where boto3 finds them (environment, profile, instance), never from the
    URL. Objects have no links and no folders: a folder is there if something is in it."""

    def __init__(self, bucket: str, prefix: str = "", *, endpoint: str = "", region: str = "") -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.url = f"s3://{bucket}" + (f"/{self.prefix}" if self.prefix else "")
        self._endpoint, self._region = endpoint, region
        self._lock = threading.Lock()
        self._made: tuple[int, S3Client] | None = None

    @classmethod
    def of_url(cls, url: str) -> S3Store:
        """``s3://bucket/prefix?endpoint=https://…&region=…``. Raises SettingsError."""
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        if not parts.netloc or "@" in parts.netloc or set(options) - {"endpoint", "region"}:
            raise SettingsError(f"{url}: expected s3://bucket/prefix, behind it ?endpoint=…&region=… where needed; no credentials")
        return cls(parts.netloc, parts.path, endpoint=options.get("endpoint", [""])[0], region=options.get("region", [""])[0])

    def stat(self, path: str) -> Entry:
        """See Store."""
        path = inside(path)
        with self._asked(path):
            try:
                head = self._client().head_object(Bucket=self.bucket, Key=self._key(path))
            except Exception as error:
                if not _says(error, _MISSING):
                    raise
                prefix = f"{self._key(path)}/".lstrip("/")
                found = self._client().list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)
                if not found.get("Contents"):
                    raise
                return Entry(path, 0, 0, folder=True)
            return Entry(path, head["ContentLength"], _ns(head["LastModified"]))

    def stats(self, paths: Sequence[str]) -> builtins.list[Entry | None]:
        """See Store."""
        with ThreadPoolExecutor(16) as pool:
            return [*pool.map(lambda path: there(self.stat, path), paths)]

    def list(self, folder: str = "") -> list[Entry]:
        """See Store."""
        folder = inside(folder)
        prefix = self._key(folder).rstrip("/") + "/" if self._key(folder) else ""
        found: list[Entry] = []
        with self._asked(folder):
            for page in self._client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/"):
                for one in page.get("CommonPrefixes", ()):
                    found.append(Entry(_under(folder, one["Prefix"][len(prefix) :].rstrip("/")), 0, 0, folder=True))
                for item in page.get("Contents", ()):
                    if (name := item["Key"][len(prefix) :]) and not hidden(name):
                        found.append(Entry(_under(folder, name), item["Size"], _ns(item["LastModified"])))
        if not found and folder:
            raise NotFound(f"{self.url}/{folder} is not there")
        return sorted(found, key=lambda entry: entry.path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        path = inside(path)
        if length == 0:
            self.stat(path)
            return b""
        with self._asked(path):
            return bytes(self._body(path, offset, None if length is None else offset + length - 1).read())

    def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """See Store."""
        path = inside(path)
        with self._asked(path):
            body = self._body(path, offset, None)
            while chunk := body.read(CHUNK):
                yield chunk

    def put(self, path: str, source: BinaryIO) -> Entry:
        """See Store."""
        path = inside(path)
        with self._asked(path):
            # It closes what it is given.
            still: Any = _Open(source)
            self._client().upload_fileobj(still, self.bucket, self._key(path))
        return self.stat(path)

    def delete(self, path: str) -> None:
        """See Store."""
        path = inside(path)
        with self._asked(path):
            self._client().delete_object(Bucket=self.bucket, Key=self._key(path))

    def close(self) -> None:
        """See Store."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made[1].close()

    # -- the client ------------------------------------------------------------------------------------------------------

    def _client(self) -> S3Client:
        """One for each process; boto3's clients are safe for threads."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                try:
                    import boto3
                    from botocore.config import Config
                except ImportError:
                    raise SettingsError("S3 needs boto3: pip install 'tapeline[s3]'") from None
                settings = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
                names: dict[str, Any] = {"endpoint_url": self._endpoint or None, "region_name": self._region or None}
                self._made = os.getpid(), boto3.session.Session().client("s3", config=settings, **names)
            return self._made[1]

    def _body(self, path: str, first: int, last: int | None) -> Any:
        """The object from byte ``first`` to byte ``last``; nothing behind its end."""
        wanted: dict[str, Any] = {"Range": f"bytes={first}-{'' if last is None else last}"} if first or last is not None else {}
        try:
            return self._client().get_object(Bucket=self.bucket, Key=self._key(path), **wanted)["Body"]
        except Exception as error:
            if _says(error, {"416", "InvalidRange"}):
                return _Nothing()
            raise

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}".strip("/")

    @contextlib.contextmanager
    def _asked(self, path: str) -> Iterator[None]:
        """What boto3 raises, as errors of ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            self._raise(path, error)

    def _raise(self, path: str, error: Exception) -> NoReturn:
        from botocore.exceptions import NoCredentialsError, ParamValidationError, PartialCredentialsError

        name = f"{self.url}/{path}".rstrip("/")
        if _says(error, _MISSING):
            raise NotFound(f"{name} is not there") from None
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise StoreDenied(f"{name}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE") from None
        if _says(error, _DENIED):
            raise StoreDenied(f"{name}: {error}") from None
        if isinstance(error, ParamValidationError):
            raise StoreError(f"{name}: {error}") from None
        raise StoreUnavailable(f"cannot reach {name}: {error}") from None


class _Open:
    """A file that stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def close(self) -> None:
        """Not here."""


class _Nothing:
    def read(self, size: int = -1) -> bytes:
        """The end."""
        return b""


def _says(error: Exception, codes: set[str]) -> bool:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", "")) in codes


def _ns(at: Any) -> int:
    return int(at.timestamp() * 1000) * 1_000_000


def _under(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
