"""Port mapping: requests to gateways and their responses (RFC 6886, RFC 6887)."""
