"""A strategy script as it was written for a folder full of windows: ``real/btc-updown-15m-<start>.jsonl``."""

import glob
import json
import os

import pandas as pd

total = 0
for path in sorted(glob.glob("real/btc-updown-15m-*.jsonl")):
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        continue
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    books = [line for line in lines if "m" in line]
    frame = pd.read_json(path, lines=True)
    assert len(frame) == len(lines)
    total += len(books)
    print(os.path.basename(path), len(lines), "lines", len(books), "frames")
print(len(os.listdir("real")), "windows", total, "frames")
