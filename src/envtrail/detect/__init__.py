"""What is noticed of what happened: policy first."""
