"""Write a folder of files in such a way that a reader finds all of them or none."""

from __future__ import annotations

from collections.abc import Mapping

from raystellar.files import places


def commit_folder(folder: str, files: Mapping[str, bytes]) -> None:
    """Write files to a folder; a local folder of that name is replaced as a whole.

    A local folder is written under a temporary name and renamed, see ``places.whole_folder``. An object store cannot
    rename: there the last file is removed first and written last, and a folder without it does not count as complete.

    Parameters
    ----------
    folder : an absolute path, or a URL
    files : contents by name, in the order in which they are written

    Raises
    ------
    OutputError : the folder cannot be written
    """
    if places.is_local(folder):
        with places.whole_folder(folder) as temporary:
            for name, data in files.items():
                places.write_bytes(str(temporary / name), data)
        return
    places.remove(places.join(folder, list(files)[-1]))
    for name, data in files.items():
        places.write_bytes(places.join(folder, name), data)
