"""The node's API: what slices, their delegates and the operator may ask of the node. docs/node-api.md."""
