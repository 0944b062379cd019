"""Live view of a stack's traffic: snapshots from the counters and access logs of its waypoints."""
