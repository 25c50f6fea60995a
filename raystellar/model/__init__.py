"""The model: the network and everything needed to apply it to spectra.

    architecture   the shape of the network as a section of the configuration; loads no torch
    network        the residual multitask network with its dropout, and the mean of several networks
    batches        rows of arrays as batches of one size, on the device of the network
    uncertainty    variances of the predictions by photon noise and by the weight on single units
    errormodel     errors of the predictions from these variances, S/N and predicted labels; loads no torch
    ood            the OOD score (out-of-distribution): how unlike the training spectra a spectrum is
    saliency       the wavelengths on which the predictions depend, for the report
    baselines      ordinary least squares and ridge regression, the paper's linear comparisons
    bundle         the trained model with everything needed to apply and to judge it
    bundle_files   a bundle as a folder: writing, reading, checks; never a pickle
    exchange       a bundle as one file for other programs, ONNX or torch.export
    recipe         the description in an exported file: the steps to the network's input
    plain          prediction in plain torch, a reference for benchmarks
    threads        the number of threads that torch uses

To apply a model, ``bundle_files.load_bundle`` is enough. Add a new architecture beside ``network``.
"""
