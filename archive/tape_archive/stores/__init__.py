"""Where files are kept: a folder, an SSH server, an object store. One interface, ``store.Store``; ``open_store`` takes a URL."""

from tape_archive.stores.local import LocalStore
from tape_archive.stores.store import Entry, Store, open_store

__all__ = ["Entry", "LocalStore", "Store", "open_store"]
