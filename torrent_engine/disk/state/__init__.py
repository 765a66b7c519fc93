"""The state database and its records."""
