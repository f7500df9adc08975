"""The import that existing scripts use: ``from cex_split_file_helper import get_output_path``."""

from tape_access.series import get_output_path

__all__ = ["get_output_path"]
