"""Memory of facts: what the engine decided, kept across crashes and power cuts. Knows records, never rules."""
