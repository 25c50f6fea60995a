"""The only folder that imports Ray: where work runs, and how its progress is shown.

    session    join or start Ray, and ask the cluster how many workers it has room for
    shards     the shards of a job in actors of Ray Data: ``Flow``, ``run_job``
    training   a fit by workers of Ray Train
    trials     the trials of a search by Ray Tune
    progress   one live line, or a line in the log now and then; a stopwatch

Ray is imported inside functions, so that the program starts quickly and runs without Ray where ``--local`` is given.
"""
