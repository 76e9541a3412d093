"""Segments (the evidence) and state (what can be rebuilt from it), behind one protocol."""
