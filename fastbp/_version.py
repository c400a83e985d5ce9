"""The version, read by the build and by `fastbp.__version__`."""

__version__ = "0.1.0"
