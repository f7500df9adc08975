"""``ofi-record``: recorder, output, metrics, reports; and the output made again from the tape."""
