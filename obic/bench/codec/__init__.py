"""The codec: its design decisions, effort, rate control, pixel masks, and exactness between
machines."""
