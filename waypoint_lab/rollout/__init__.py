"""Canary promotion and waypoint migration: state, journal, analysis."""
