"""Speed and faults, measured; with the servers on loopback that this needs."""
