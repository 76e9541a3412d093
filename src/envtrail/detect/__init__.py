"""Detections: Sigma rules over what was recorded."""
