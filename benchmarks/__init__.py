"""Honest timing: ours beside the floor and beside a peer, in one run, as ratios. See docs/howto/benchmark.md."""
