"""Tables: rows of the market in Parquet, ClickHouse or PostgreSQL. One interface, ``tables.Tables``; ``open_tables`` takes a URL."""

from tape_archive.tables.tables import Cursor, Proof, Tables, open_tables

__all__ = ["Cursor", "Proof", "Tables", "open_tables"]
