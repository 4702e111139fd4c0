"""`python3 -m configmanager`."""

from configmanager.cli import main

if __name__ == "__main__":
    main()
