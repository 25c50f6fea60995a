"""The search for hyperparameters, without Ray and without torch.

    config     sections ``tune`` and ``space`` of the settings
    space      the parameters of a search, and the network and training that a choice of them means
    trials     the record of every trial, kept in ``trials.json``
    schedule   the tasks that come next, by successive halving
    sampler    the choices that come next, by Optuna
    conductor  hands out tasks one by one and records their outcomes
    replay     the order in which a finished search ran its tasks

Schedule and sampler are functions of the recorded trials and of nothing else. A search that was killed therefore
continues as if it had not been, and the number of workers changes only the time.
"""
