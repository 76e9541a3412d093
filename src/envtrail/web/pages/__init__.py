"""The pages of the web UI."""
