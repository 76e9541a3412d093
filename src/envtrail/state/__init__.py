"""What is derived from the evidence, and the one protocol that reads both."""
