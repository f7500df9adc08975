"""``poly-record``: recorder, tapes of the windows, reference prices, independent looks at books and results."""
