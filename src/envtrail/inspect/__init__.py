"""The inspector: reads what users own, by short-lived workers with their rights, and gives back typed facts."""
