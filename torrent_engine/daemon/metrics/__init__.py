"""Metrics of the daemon for Prometheus."""
