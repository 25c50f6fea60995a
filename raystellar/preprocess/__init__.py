"""From an observed spectrum to the network's input.

    spline       the cubic-spline kernel (not-a-knot, as scipy.interpolate.CubicSpline), compiled
    pixels       grid, rest frame, standardisation and noise of one spectrum: ``Preprocessor``

Everything here is pure and single-threaded; who runs it on many cores is not its business.
"""
