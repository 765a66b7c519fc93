"""Settings of the daemon: a model, and its values from files, environment, options and users."""
