"""Waypoint Lab: operate and measure layer-7 traffic of Istio Ambient."""
