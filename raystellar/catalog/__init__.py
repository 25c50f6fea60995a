"""The catalogue: the rows that ``raystellar label`` writes, and how they leave the folder.

labeller   preprocessed spectra -> rows with labels, errors, OOD score and flags
repeats    the star of each row, the primary row of each star, and the scatter between repeats
finished   open the folder of a finished catalogue and read its rows
export     write a catalogue as one FITS, Parquet or CSV file, or as a HATS folder
reference  write README.md, which describes every column and flag

No module here knows Ray: the stage ``label`` runs the labeller in its workers.
"""
