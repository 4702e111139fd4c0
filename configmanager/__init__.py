"""Takes over on the installed node and brings it into its roles through backends."""
