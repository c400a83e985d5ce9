"""The contestants' code: each module has `CASES`, from a row's kind to a builder.

A builder takes a row's `spec` and returns a `Case`. Every module here is imported only in its own
contestant's process, except the tables `compat_*` (see `_compat`), which say what both sides run.
"""
