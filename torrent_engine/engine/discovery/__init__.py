"""Finding peers: trackers, DHT and local service discovery."""
