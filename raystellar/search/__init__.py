"""What a search for hyperparameters does, without saying who does it: no Ray here, and no torch.

``space``    what may be chosen, and what network and training a choice means
``trials``   what is known of every trial; the one file that a search leaves and goes on from
``schedule`` which trial is to be trained how far next: a function of what is known, and of nothing else
``sampler``  which choices are worth a trial, likewise
``conductor`` hands out what is to be done, and keeps on record what comes of it
``config``   the sections ``tune`` and ``space`` of the settings

As both are functions of the trials on record, a search that was killed goes on as if it had not been, and how many
workers take part changes nothing but the time.
"""
