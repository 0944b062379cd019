"""The table of stages and what traffic must show in each."""
