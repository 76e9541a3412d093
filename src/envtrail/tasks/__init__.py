"""One-shot work behind a command."""
