"""`python3 -m bootmanager`."""

from bootmanager.cli import main

main()
