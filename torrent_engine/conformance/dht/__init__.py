"""What rules of DHT nodes work with: nodes of the kit, messages, and a program that runs a node."""
