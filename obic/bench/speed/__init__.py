"""Time and memory: stages and processes, many pictures, the decoder for browsers."""
