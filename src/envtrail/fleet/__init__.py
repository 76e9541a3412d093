"""Reading a cluster that many machines ship to."""
