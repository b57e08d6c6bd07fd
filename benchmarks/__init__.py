"""Measurements of what the README claims; each module prints one table and records it."""
