"""Benchmarks for asv; the rules are in bench/README.md."""
