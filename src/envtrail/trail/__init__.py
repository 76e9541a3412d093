"""The evidence: the active segment, sealing, reading, verification."""
