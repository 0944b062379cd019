"""Pulumi plugins of this project: a language host for Python and a Command provider.

The Go modules of the official plugins cannot be built here, because the module proxy refuses them. An official plugin
on PATH is used instead of these.
"""
