"""Watchdog and supervisor of the embedded cluster's processes."""
