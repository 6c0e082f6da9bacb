"""The vivid look: a second synthesis for a codec that is finished."""
