"""Sweeps: an experiment over a grid of settings and seeds, kept in a ledger that survives interruption.

What each module is:

    grid         axes, cells, and the hash that names a cell's numbers
    ledger       the record on the disk
    batches      what a worker does
    executors    processes of this machine; cluster: Dask's; connect: which one
    runner       what is missing in the ledger, until all is there
    criteria     what counts as success; boundary: where it begins, exponents, refinement
    folder       where it writes, refused to any other experiment
    results      its dataset as a file; the result that a file holds, of a sweep or a run
    study        the whole; ``numsim.sweep`` is its function
    curves       where theory sees the boundary; axis_labels: what axes are called
    sweepfile    the table ``sweep`` of a file
"""
