"""The import that existing scripts use: ``from data_path_compat import auto_patch``."""

from tape_access.path_compat import auto_patch, patch_glob, patch_open, unpatch_all

__all__ = ["auto_patch", "patch_glob", "patch_open", "unpatch_all"]
