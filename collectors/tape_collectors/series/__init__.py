"""``cex-record``: recorder, anchors, listings, tick Parquet; and the series and ticks made again from the tape."""
