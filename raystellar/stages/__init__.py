"""The stages, named as the commands. Each reads from its source, through its steps, to its sink.

simulate     simulate a survey as real SDSS files
preprocess   survey files and a label table -> preprocessed spectra in Parquet
tune         preprocessed spectra -> the best hyperparameters
train        preprocessed spectra -> a model bundle
label        survey files and a model bundle -> a catalogue
evaluate     catalogues, models and known labels -> statistics of their differences, and a page
plan         the size of a job, from a sample of its input
"""
