"""Drives a machine to its target state by steps."""
