"""Nielsen's "Neural Networks and Deep Learning": `network` and `network2`.

The book's classes, data and random numbers; whole mini-batches are computed at once, compiled:
see docs/compat-miniflow-nielsen.md.
"""
