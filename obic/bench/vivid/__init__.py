"""The vivid look: what it gains, and what it gives up."""
