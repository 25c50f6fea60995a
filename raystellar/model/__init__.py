"""The model: what the network is, what it is compared with, and how it lies on disk.

    architecture   the shape of the network as a section of the configuration; knows no torch
    network        the residual multitask network and its dropout
    uncertainty    the noise of the pixels through the network
    errormodel     standard errors of that and of a scatter learnt on validation stars
    saliency       which wavelengths the network looks at, for pages
    baselines      ordinary least squares and ridge regression, the paper's linear comparisons
    bundle         a folder that describes itself: weights, grid, scaler, provenance; never a pickle
    commit         a folder written whole or not at all

Write a new architecture beside ``network``; whoever only applies a model needs ``bundle.load_bundle`` alone.
"""
