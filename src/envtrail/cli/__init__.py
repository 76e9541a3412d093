"""The command line: one file for each verb in `commands/`, one renderer for every result."""
