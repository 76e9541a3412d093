"""The page and the HTTP API: they read the Store protocol, and nothing else of the trail."""
