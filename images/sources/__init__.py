"""What images are made of, each kind of it read into the same members."""
