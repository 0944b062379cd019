"""Probe, access log, Envoy config and stats, statistics, verdicts."""
