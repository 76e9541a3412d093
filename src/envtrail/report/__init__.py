"""One document about a period."""
