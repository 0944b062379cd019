"""The table of stages, and the expected traffic of each."""
