"""The model: what the network is, what it is compared with, and how it lies on disk.

    architecture   the shape of the network as a section of the configuration; knows no torch
    batches        rows as batches of one size, on the device of the network
    network        the residual multitask network and its dropout, and the mean of several
    uncertainty    what the network itself says of its errors: noise of the pixels, weight on single units
    errormodel     errors made of that, S/N and place, as learnt on stars with labels
    ood        how unlike the training spectra a spectrum is; without torch
    saliency       which wavelengths the network looks at, for pages
    baselines      ordinary least squares and ridge regression, the paper's linear comparisons
    bundle         a folder that describes itself: weights, grid, scaler, provenance; never a pickle
    commit         a folder written whole or not at all
    exchange       the network for other programs, ONNX and torch.export, checked before it is written
    recipe         how to make the flux that it wants, in words and JSON

Write a new architecture beside ``network``; whoever only applies a model needs ``bundle.load_bundle`` alone.
"""
