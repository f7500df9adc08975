"""``tape import``: recordings of other tools as tapes."""
