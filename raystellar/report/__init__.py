"""Pages and pictures of catalogues, models and searches.

A page is one HTML file that holds no script and fetches nothing.

    write             write the page of a catalogue or of a model
    model             the page of a model
    catalog/          the page of a catalogue
    evaluation/       the page of an evaluation
    search/           the page of a search for hyperparameters, and its TensorBoard files
    figures           the picture of the demo
    page              building blocks of pages, from ``templates/``
    svg               matplotlib figures within pages
    axes              colour maps, colour bars and ticks
    residuals         statistics of predictions minus reference labels
    residual_figures  figures of predictions minus reference labels
    assessment        parts of pages about residuals and the calibration of errors
    spectral_figures  figures of spectra and of responses to lines
"""
