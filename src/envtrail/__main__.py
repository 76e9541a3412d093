"""`python -m envtrail`."""

from envtrail.cli.main import main

main()
