"""Notifications: channels, messages, an outbox that loses nothing, and the loop that empties it."""
