"""The recorder: what the kernel says and what was observed, appended to the open segment."""
