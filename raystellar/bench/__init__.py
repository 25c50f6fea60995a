"""Benchmarks that hold the project against the real sky, against the truth of simulated stars and against the clock.

    sky, stars              simulated lines beside those of real stars; labels of real stars beside the literature
    errors, ood         are the errors of a catalogue true; what share of odd spectra is found
    kernels, ingest, plates, label    milliseconds a spectrum, beside what a user would write
    commands                what each sub-command of ``raystellar bench`` prints

Each compares with what it would replace or with what is known, in one run.
"""
