"""Typed settings of a stack."""
