"""``market-record``: recorder, discovery, and the processes beside it that make tables of its tapes."""
