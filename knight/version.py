"""The version of Knight."""

__version__ = "0.1.0"
