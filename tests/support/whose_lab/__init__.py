"""Whose change it is: people change environments in bursts, side by side, and each step is entered into a ledger of the driver's own."""
