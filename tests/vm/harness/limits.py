"""How long things may take, in seconds, before a scenario gives up: emulated, two machines at a time."""

BOOT = 420
"""From power-on to the first decision: firmware, kernel, systemd, hardware, check-in."""

INSTALL = 900
"""From the check-in to the hand-over to the installed system."""

NODE_UP = 480
"""From the hand-over to run level boot with slivers and services."""

SOON = 150
"""Something that one step or one try in debug mode brings about."""
