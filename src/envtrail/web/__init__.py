"""The web UI and the HTTP API: they read the trail through the Store protocol only."""
