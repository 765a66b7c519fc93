"""What rules of uTP work with: packets as bytes, connections that send what they are told."""
