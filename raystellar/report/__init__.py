"""Figures and pages for those who would rather look than read.

    page, svg               the frame of a page, its tables, and figures within it
    search, replay          the page of a search, with search_figures and search_choices; tensorboard
    catalog, model          the pages of a catalogue and of a model, with catalog_figures and spectral_lines
    census, residuals       one pass over all rows, in bounded memory; predictions against given labels
    given, gallery          those labels; the spectra of a few rows, read again
    figures                 the picture of the demo

A page holds no script and fetches nothing.
"""
