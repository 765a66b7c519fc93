"""The HTTP client of trackers, web seeds and routers."""
