"""Who may do what: principals, their credentials, and the checks before every request."""
