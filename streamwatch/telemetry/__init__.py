"""Monitoring of a running watch by other programs: metrics for Prometheus, traces for OpenTelemetry."""
