"""From hot to cold: windows moved, tapes packed, ticks compacted, old data pruned. It may be killed at any moment, and run again."""
