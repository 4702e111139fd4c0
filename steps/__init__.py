"""One boot step a file; base.py is the contract."""
