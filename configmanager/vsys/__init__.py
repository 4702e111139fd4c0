"""Services of the node that slivers use through FIFOs. docs/vsys.md."""
