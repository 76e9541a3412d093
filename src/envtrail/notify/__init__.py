"""Findings and requests told to people, through Apprise."""
