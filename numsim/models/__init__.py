"""Data in the few coordinates that anybody looks at: space, patch dictionaries, signal-noise data."""
