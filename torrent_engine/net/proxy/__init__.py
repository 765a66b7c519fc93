"""Proxies and the routes that connections take."""
