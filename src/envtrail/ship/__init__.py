"""Shipping documents to a search server or a file."""
