"""Pulumi plugins for machines without the official ones."""
