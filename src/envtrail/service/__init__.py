"""The service's socket: protocol, server, client, authorization."""
