"""Features of one market, each an incremental class: what came before it is its only state, and time comes in with the values.

No class here knows a record, a socket or a clock. The same class serves the live process, the rebuild and a strategy; objects are plain
data and can be pickled. What is not known is None, never 0. Definitions, columns and null rules: docs/reference/features.md.
"""
