"""Files of the public archive: fetched with their checksum, verified, kept, read."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile

from tape_archive.format.errors import VenueProtocolError
from tape_collectors.backfill.client import Answered, Client
from tape_collectors.venues.binance import history
from tape_collectors.venues.binance.history import Columns
from tape_collectors.venues.protocol import Fetch


class Absent(Exception):
    """The archive cannot give this file: it is not there, or is not what its checksum says."""


async def read(client: Client, path: str) -> Columns:
    """The rows of a file; one that was fetched and verified before is not fetched again. Raises Absent, NoAnswer, VenueProtocolError."""
    kept = client.place(path)
    if kept.exists():
        data = kept.read_bytes()
    else:
        data = await _fetched(client, path)
    # A day of trades is a million rows: the loop goes on meanwhile.
    return await asyncio.to_thread(rows, path, data)


async def _fetched(client: Client, path: str) -> bytes:
    try:
        _, text = await client.get(Fetch(f"GET {path}.CHECKSUM", host="archive", retries=0))
        wanted = text.split()[0].decode("ascii", "replace").lower() if text.split() else ""
        for _ in range(2):
            _, data = await client.get(Fetch(f"GET {path}", host="archive", retries=0))
            found = hashlib.sha256(data).hexdigest()
            if found == wanted:
                client.keep(path, data)
                return data
    except Answered as error:
        raise Absent("the archive has no such file" if error.status == 404 else f"the archive answers {error.status}") from None
    raise Absent(f"wrong checksum: it should be {wanted[:12]}…, and is {found[:12]}…")


def rows(path: str, data: bytes) -> Columns:
    """The rows of a zip file of the archive, by its path. Raises Absent if it is damaged, VenueProtocolError if it has other columns."""
    kind = path.removeprefix(history.ARCHIVE).split("/")[2]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed, packed.open(packed.namelist()[0]) as file:
            return history.archived(kind, io.TextIOWrapper(file, "ascii", "replace"))
    except (zipfile.BadZipFile, IndexError, EOFError, OSError) as error:
        raise Absent(f"no zip file: {error}") from None
    except KeyError:
        raise VenueProtocolError(f"no kind of archive is known by {path}") from None
