"""IP filters, and parsers of their list formats."""
