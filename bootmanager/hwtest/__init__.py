"""Tests of the hardware, for a person in debug mode: each says passed, failed or not possible, and why."""
