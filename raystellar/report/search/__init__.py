"""The page of a search for hyperparameters.

    page          the page
    figures       losses of the trials by epoch, and the best loss by the work spent
    choices       losses by the values that were chosen
    tensorboard   curves as TensorBoard files

Figures that need more trials than a search has are left out, and the page names them.
"""
