"""``tape`` imports what a command needs and no more, and says which extra is missing."""

import os
import subprocess
import sys

import pytest

from tape_archive.cli import COMMANDS


def tape(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv = ['tape', *{list(arguments)!r}]\n{before}\nfrom tape_archive.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "160"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_help_names_every_command_and_imports_none() -> None:
    checked = "import atexit; atexit.register(lambda: print(*(m for m in sys.modules if m.startswith(('tape_collectors', 'pandas')))))"
    run = tape("--help", before=checked)
    assert run.returncode == 0 and all(f"  {name} " in run.stdout for name in COMMANDS)
    assert run.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    run = tape(name, "--help")
    assert run.returncode == 0 and len(run.stdout.splitlines()) > 3 and run.stderr == ""


def test_a_missing_extra_is_one_line_and_exit_2() -> None:
    blocked = "class No:\n    def find_spec(self, name, *rest):\n        if name == 'aiohttp': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\nsys.meta_path.insert(0, No())"
    run = tape("simulate", "--help", before=blocked)
    assert (run.returncode, run.stderr) == (2, "error: tape simulate needs the package 'aiohttp': pip install 'tapeline[collect]'\n")


def test_a_user_error_is_one_line() -> None:
    run = tape("ls", "--root", "/nonexistent")
    assert (run.returncode, run.stderr) == (1, "error: /nonexistent is no folder\n")
    assert tape("no-such").returncode == 2
