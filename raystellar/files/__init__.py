"""Files on disks, in object stores and on web servers: finding them, reading them, and writing them as a whole.

Modules
-------
places : paths and URLs; files and folders that are written as a whole or not at all
listing : files of spectra that the user named as files, folders, globs and lists
identity : paths that name the same file
facts : small JSON files in an output folder
fetcher : files on servers, requested ahead of their reader
remote_file : a file on a server, of which the first bytes are in memory
requests : single requests to servers, and the meaning of their failures
"""
