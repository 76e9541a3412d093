"""The tools, in the order in which they are asked."""
