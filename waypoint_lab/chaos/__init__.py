"""Faults: blast radius, schedules, health checks."""
