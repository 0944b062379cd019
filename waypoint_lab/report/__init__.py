"""Reports of a run, a promotion or a guard: one HTML file that needs no network, and the same as a picture."""
