"""`git log` for the Python environments of a shared machine, written by the kernel."""
