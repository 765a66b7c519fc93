"""Connections to peers: transport, encryption, dialling and listening."""
