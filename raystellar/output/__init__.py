"""Output folders: how the work of a job is divided, written, resumed, extended and accounted for.

Modules
-------
folder : output folders that are divided into shards, and the numbers of their rows and rejects
manifest : the list of input files, divided into shards
parts : reading of the Parquet files of a folder
additions : input files that a command adds to a folder
run : the job that made a folder, and the refusal of folders of other jobs
commit : folders whose files are all written or none
"""
