"""Data quality of an OFI and CVD output: what is missing, double, late, or not what the tape says. Definitions: docs/reference/quality.md.

Everything but ``parts``, ``retold`` (files) and ``command`` is pure: arrays in, findings out.
"""
