"""Where records come from: one contract (`source.py`), many sources."""
