"""`git log` for the Python environments of a shared machine, written by the kernel."""

__version__ = "0.1.0"
