"""Filling what is missing in the tables: what to ask for (``plan``, pure), the public archive, and the run."""
