"""`fastbp bench`: fastbp beside its peers, in one run on one machine.

Rows (`groups/`) say what is measured, contestants (`_peers/`, one process each) how each package
does it, `session` measures them in turn, `report` and `table` tell. Method: docs/benchmarks.md.
"""
