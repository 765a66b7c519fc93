"""Options of the commands and the configuration file."""
