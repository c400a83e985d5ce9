"""A small `common` in plain NumPy, laid out as the book's: what the scripts are run against."""
