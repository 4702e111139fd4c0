"""`python3 -m bootserver`."""

from bootserver.cli import main

main()
