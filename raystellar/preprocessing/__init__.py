"""From observed spectra to the input of the network.

    spline         the compiled cubic spline kernel, with the results of ``scipy.interpolate.CubicSpline``
    bad_pixels     bad pixels and spikes, and their replacement
    pixels         grid, rest frame, standardisation and noise of one spectrum: ``Preprocessor``
    ingest         from slices of files to a batch of preprocessed spectra and rejects

The package writes no file and knows no Ray. ``engine`` runs it on many cores.
"""
