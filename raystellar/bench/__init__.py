"""Benchmarks. README.md in this folder holds the measured figures.

    sky      lines of simulated stars against those of real stars
    stars    labels of real stars against the literature
    limit    least errors that the noise of a simulated survey allows, beside the errors of catalogues
    ood      share of galaxies, quasars, sky and other odd spectra that the OOD score flags
    kernels  time of reading, resampling and predicting in one process, against plain astropy, SciPy and torch
    ingest   time from spec files to Parquet, against the same plain program
    label    time from spec files to a catalogue, against the same plain program
    plates   time from plates to Parquet, against the spec files of the same fibres

Each benchmark measures both sides of its comparison in one run. ``cli.commands.bench`` prints the tables.
"""
