#!/usr/bin/env python3
"""What is missing in the tables: the name that earlier tools had for ``backfill --check``. Arguments are passed on."""

import sys

from tape_collectors.cli.backfill import main

sys.argv[1:1] = ["--check"]
main()
