"""Fuzzing of whatever reads bytes from outside: `make fuzz`. Needs the extra `fuzz` (atheris)."""
