"""The codec network: its course, and how a checkpoint of it becomes a file of weights."""
