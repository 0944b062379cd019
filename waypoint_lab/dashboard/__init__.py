"""The dashboard: one local page that shows the traffic and the promotion of a stack, and has three safe buttons."""
