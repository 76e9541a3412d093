"""One file a verb; loaded when called."""
