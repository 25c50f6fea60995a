"""Which files of spectra the user named: files, folders, globs and lists of them, on a disk, on servers, on the web."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from fsspec.utils import get_protocol, glob_translate

from raystellar.errors import InputError
from raystellar.files.places import filesystem, in_one_sentence, is_local, join, local_path, read_bytes
from raystellar.files.requests import WEB_PROTOCOLS
from raystellar.schema import REJECTS_DIR

SPECTRA_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".parquet")
"""What counts as spectra when a folder is named; a file that is named itself is always taken."""

COMPANIONS = ("spZbest-", "spZall-", "spZline-")
"""Files beside the spectra of a plate that hold none."""

LIST_SUFFIXES = (".txt", ".lst", ".list")
"""Files that hold one path a line."""


def expand(places: Iterable[str], *, listed: bool = False) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of every spectrum file that the user named.

    A file on a web server, or one on any server that stands in a list, is taken at its word, with 0 bytes: to ask
    for each of a million files would take hours. What is not there is found out when it is fetched.

    Parameters
    ----------
    places : files, folders (searched to the bottom for FITS files), globs, and lists (``@FILE``, or a file whose
        name ends in .txt, .lst or .list) with one such place a line; relative lines start at the list's folder
    listed : the places stand in a list

    Raises
    ------
    InputError : a file or folder does not exist or cannot be listed, a glob matches nothing
    """
    for place in places:
        if place.startswith("@") or place.endswith(LIST_SUFFIXES):
            yield from expand(_read_list(place.removeprefix("@")), listed=True)
        elif is_local(place):
            yield from _expand_local(local_path(place))
        elif get_protocol(place) in WEB_PROTOCOLS:
            yield _expand_web(place), 0
        elif listed and _is_spectra(place):
            yield place, 0
        else:
            yield from _expand_remote(place)


def _read_list(place: str) -> Iterator[str]:
    folder = place.rpartition("/")[0] or "."
    for line in read_bytes(place).decode(errors="replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            absolute = "://" in line or line.startswith(("/", "~"))
            yield line if absolute else join(folder, line)


def _expand_local(path: str) -> Iterator[tuple[str, int]]:
    if os.path.isdir(path):
        yield from _walk(path, set())
    elif os.path.exists(path):
        yield path, _size(path)
    elif any(sign in path for sign in "*?["):
        yield from _expand_glob(path)
    else:
        raise InputError(f"no such file or folder: {path}")


def _expand_glob(pattern: str) -> Iterator[tuple[str, int]]:
    import glob

    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise InputError(f"nothing matches {pattern}")
    for match in matches:
        yield from _expand_local(match)


def _walk(folder: str, seen: set[str]) -> Iterator[tuple[str, int]]:
    """Yield the FITS files below ``folder`` in order of their names; each real folder once, links or not."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, seen)
        elif _is_spectra(entry.path):
            yield entry.path, _size(entry.path)


def _size(path: str) -> int:
    """Return the bytes of a file; 0 where it is gone, or is none, as its reader will say."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {path!r} is not UTF-8; rename the file") from None
    try:
        return os.path.getsize(path) if os.path.isfile(path) else 0
    except OSError:
        return 0


def _is_spectra(path: str) -> bool:
    """Return whether the name is that of a file of spectra, as found in a folder."""
    folder, _, name = path.rpartition("/")
    if name.startswith("part-") and folder.rpartition("/")[2] == REJECTS_DIR:
        return False
    return name.lower().endswith(SPECTRA_SUFFIXES) and not name.startswith((*COMPANIONS, "_"))


def _expand_web(place: str) -> str:
    """Return the address of a file; a folder is refused, for what a web server shows of one is for humans."""
    path = place.partition("?")[0]
    if "." in path.split("://", 1)[1].partition("/")[2].rpartition("/")[2] and "*" not in path:
        return place
    raise InputError(
        f"{place} is no file, and a web server cannot be asked for a list of its files; "
        "give their addresses, one a line, in a text file (@paths.txt)"
    )


def _expand_remote(place: str) -> Iterator[tuple[str, int]]:
    remote, path = filesystem(place)
    protocol = place.split("://", 1)[0]
    pattern = any(sign in path for sign in "*?[")
    none = True
    with in_one_sentence(InputError, f"{place} cannot be listed"):
        if _is_spectra(path) and not pattern:
            found = iter([(path, int(remote.info(path).get("size") or 0))])
        else:
            found = _matching(remote, path) if pattern else _below(remote, path)
        for name, size in found:
            none = False
            yield name if "://" in name else f"{protocol}://{name}", size
    if none:
        raise InputError(f"no spectra at {place}")


def _matching(remote: Any, pattern: str) -> Iterator[tuple[str, int]]:
    """Yield the files that match a glob, and those below the folders that do."""
    fixed = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    matches = re.compile(glob_translate(pattern)).match
    for name, size in _files(remote, fixed):
        parts = name.split("/")
        folders = ("/".join(parts[:end]) for end in range(fixed.count("/") + 1, len(parts)))
        if matches(name) or (_is_spectra(name) and any(map(matches, folders))):
            yield name, size


def _below(remote: Any, folder: str) -> Iterator[tuple[str, int]]:
    """Yield the files of spectra below a folder."""
    start = folder.rstrip("/") + "/"
    for name, size in _files(remote, start):
        if _is_spectra(name) and "/." not in name[len(start) - 1 :]:
            yield name, size


def _files(remote: Any, start: str) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of all files whose names begin with ``start``, page by page: there may be millions."""
    if hasattr(remote, "call_s3"):  # its own walk holds a whole folder at once, and some have no other
        bucket, key, _ = remote.split_path(start)
        wanted = {"Bucket": bucket, "Prefix": key, **remote.req_kw}
        while True:
            page = remote.call_s3("list_objects_v2", **wanted)
            yield from ((f"{bucket}/{entry['Key']}", entry["Size"]) for entry in page.get("Contents", []))
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]
    for _, _, files in remote.walk(start.rpartition("/")[0] or "/", detail=True, on_error="raise"):
        for info in sorted(files.values(), key=lambda info: info["name"]):
            if info["name"].startswith(start):
                yield info["name"], int(info.get("size") or 0)
