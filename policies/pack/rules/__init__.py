"""Rules: pure functions of a snapshot and parameters that yield violations."""
