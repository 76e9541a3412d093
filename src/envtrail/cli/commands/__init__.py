"""One file a verb; each has `command`, loaded when called."""
