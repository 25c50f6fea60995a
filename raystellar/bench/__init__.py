"""Benchmarks that hold the project against the real sky and against the clock."""
