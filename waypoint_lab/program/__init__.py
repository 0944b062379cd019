"""Build the stack's resources from its config."""
