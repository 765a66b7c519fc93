"""Port mapping on routers: UPnP, NAT-PMP and PCP."""
