"""Named experiments: every ``NAME.toml`` in this folder is accepted wherever a file is."""
