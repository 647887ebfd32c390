"""Evaluation: metrics, protocols and speed benchmarks."""
