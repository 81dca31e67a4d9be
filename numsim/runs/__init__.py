"""One run, from the seed to the file: draw, simulate, ensembles, results, export."""
