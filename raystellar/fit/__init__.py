"""The fit of a network to labelled spectra: plain torch, shared by the stages ``tune`` and ``train``.

    config        epochs, optimiser, augmentation as a section of the configuration; knows no torch
    data          a folder of preprocessed spectra as arrays in memory, in one canonical order
    scaler        median and interquartile range per target
    augment       noisy copies of the training spectra, made on the fly
    schedule      learning rate and memory of the average over the steps
    metrics       errors per target, in the units of the targets
    checkpoints   the state after each epoch on disk, and how a fit resumes
    loop          ``fit``: one network, one or many workers, the same result
    members       the networks whose mean is the model, and which spectra each of them does not see
    part          one trial of a search, fitted part by part
    calibrate     the errors of predictions, learnt on stars that are new to who predicts them
    ood       the score of what it has not learnt from, learnt on the training spectra
    threads       how many threads torch has, for a while

Nothing here knows Ray: a worker is (rank, world) and an optional process group of torch.
"""
