"""The command line: one file a verb in `commands/`, one renderer for every result."""
