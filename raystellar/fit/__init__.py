"""The fit of networks, of their error model and of the OOD score to labelled spectra.

    config        epochs, optimiser and augmentation as a section of the configuration; loads no torch
    data          a folder of preprocessed spectra as arrays in memory, in a canonical order
    scaler        median and interquartile range per target
    augment       noisy copies of the training spectra, made during the fit
    schedule      learning rate, and memory of the averaged weights, over the steps of a fit
    metrics       errors of predictions per target, in the units of the targets
    checkpoints   the state of a fit after each epoch, in files
    loop          the fit of one network by one worker or many, with the same result
    networks      the fit of all networks of a model: those that predict, and those that show their errors
    trial         the fit of one trial of a search, part by part
    errormodel    the error model, calibrated on stars that the predicting network has not seen
    ood           the OOD score, learned from the training spectra

The stages ``tune`` and ``train`` share these modules. None of them imports Ray: a worker is known by its rank, the
number of workers and an optional process group of torch.
"""
