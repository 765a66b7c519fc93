"""Choking, request pipelines, and the division of rate limits among peers."""
