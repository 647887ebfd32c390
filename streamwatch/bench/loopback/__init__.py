"""Live streams on loopback to measure and test with: a real RTSP server, and proxies before it that fail."""
