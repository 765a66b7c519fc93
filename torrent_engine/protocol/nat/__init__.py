"""Port mapping: what gateways are asked, and what they answer (RFC 6886, RFC 6887)."""
