"""A machine under test: disks, dongles, power, consoles, a server - and ways to damage each of them.

Start with `hardware` (what a machine is made of) and `machine` (how it is driven).
"""
