"""Environments on disk: find them, read what is in them, tell two snapshots apart. Runs none of their code."""
