"""What a node can be made to do, one backend a file; base.py is the contract."""
