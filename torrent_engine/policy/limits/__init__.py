"""Budgets and rate limits against strangers."""
