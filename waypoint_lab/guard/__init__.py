"""Compare the traffic of a namespace's waypoints before and after a change."""
