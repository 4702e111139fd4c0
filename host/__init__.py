"""The machine we stand on: commands, mounts, durable files, the journal, events, HTTP."""
