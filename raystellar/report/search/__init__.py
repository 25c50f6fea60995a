"""The page of a search for hyperparameters.

    page          the page
    figures       losses of the trials by epoch, and the best loss by the work spent
    choices       the losses by the values that were chosen
    tensorboard   the curves as TensorBoard files
"""
