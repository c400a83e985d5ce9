"""The names and signatures of teaching code that people already have, on fastbp's kernels.

Each module keeps the conventions of what it stands in for: layouts, random numbers, what is
modified in place. docs/ has a page for each.
"""
