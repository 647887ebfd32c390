"""What a running watch says of itself to other programs: metrics for Prometheus, traces for OpenTelemetry."""
