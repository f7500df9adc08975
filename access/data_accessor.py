"""The import that existing scripts use: ``from data_accessor import DataAccessor``."""

from tape_access import DataAccessor

__all__ = ["DataAccessor"]
