"""Whole nodes in QEMU."""
