"""A real ambient mesh on one Linux machine, without Docker."""
