"""What crosses between the programs: signed calls, messages, node configuration, errors."""
