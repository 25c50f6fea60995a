"""Files of spectra that the user named as files, folders, globs or lists, on disks, in object stores or on the web."""

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

SPECTRA_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.bz2", ".fit.bz2", ".parquet")
"""Suffixes of files of spectra in a folder. A file that the user names may have any suffix."""

COMPANIONS = re.compile(
    r"_|sp(?:Zbest|Zall|Zline|All|AllLine)-|(?:redrock|emline|qso_mgii|qso_qn|zmtl)-"
    r"|spectra-(?:(?:cmx|main|special|sv\d)-[a-z\d]+|\d-\d+)-\w+\.fits"
)
"""Pattern at the beginning of the names of files that archives keep beside spectra, and that are skipped in a folder:
tables of SDSS plates and of DESI pixels, and the single exposures from which DESI makes its coadd files."""

LIST_SUFFIXES = (".txt", ".lst", ".list")
"""Suffixes of lists, which are text files with one path on each line."""


def expand(inputs: Iterable[str], *, listed: bool = False) -> Iterator[tuple[str, int]]:
    """Yield (path, size) of every file of spectra that the user named; sizes in bytes, 0 where unknown.

    Files on web servers, and files on other servers that a list contains, are not looked up, as requests for a million
    files would take hours. An absent file is noticed when it is fetched.

    Parameters
    ----------
    inputs : files, folders (searched with their subfolders), globs, and lists of inputs. A list is a file with one
        input a line, named as ``@FILE`` or with a name that ends in .txt, .lst or .list; relative paths in it start at
        the folder of the list
    listed : the inputs come from a list

    Raises
    ------
    InputError : a file or folder does not exist or cannot be listed, or a glob matches nothing
    """
    for path in inputs:
        if path.startswith("@") or path.endswith(LIST_SUFFIXES):
            yield from expand(_read_list(path.removeprefix("@")), listed=True)
        elif is_local(path):
            yield from _expand_local(local_path(path))
        elif get_protocol(path) in WEB_PROTOCOLS:
            yield _expand_web(path), 0
        elif listed and _is_spectra(path):
            yield path, 0
        else:
            yield from _expand_remote(path)


def _read_list(path: str) -> Iterator[str]:
    folder = path.rpartition("/")[0] or "."
    for line in read_bytes(path).decode(errors="replace").splitlines():
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
    """Yield the files of spectra below ``folder`` in the order of their names; a folder with several links, once."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = [(entry, entry.is_dir()) for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)]
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error.strerror}") from None
    for entry, is_folder in entries:
        if entry.name.startswith("."):
            continue
        if is_folder:
            yield from _walk(entry.path, seen)
        elif _is_spectra(entry.path):
            yield entry.path, _size(entry.path)


def _size(path: str) -> int:
    """Return the size of a file [bytes]; 0 where the path is absent or not a file, which the reader will report."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {path!r} is not UTF-8; rename the file") from None
    try:
        return os.path.getsize(path) if os.path.isfile(path) else 0
    except OSError:
        return 0


def _is_spectra(path: str) -> bool:
    """Return whether a file in a folder contains spectra, by its name."""
    folder, _, name = path.rpartition("/")
    if name.startswith("part-") and folder.rpartition("/")[2] == REJECTS_DIR:
        return False
    return name.lower().endswith(SPECTRA_SUFFIXES) and not COMPANIONS.match(name)


def _expand_web(url: str) -> str:
    """Return the URL of a file on a web server.

    Raises
    ------
    InputError : the URL names a folder, whose page is written for humans, or is a glob
    """
    path = url.partition("?")[0]
    if "." in path.split("://", 1)[1].partition("/")[2].rpartition("/")[2] and "*" not in path:
        return url
    raise InputError(
        f"{url} is no file, and a web server cannot be asked for a list of its files; "
        "give their addresses, one a line, in a text file (@paths.txt)"
    )


def _expand_remote(url: str) -> Iterator[tuple[str, int]]:
    remote, path = filesystem(url)
    protocol = url.split("://", 1)[0]
    is_glob = any(sign in path for sign in "*?[")
    empty = True
    with in_one_sentence(InputError, f"{url} cannot be listed"):
        if _is_spectra(path) and not is_glob:
            files = iter([(path, int(remote.info(path).get("size") or 0))])
        else:
            files = _matching(remote, path) if is_glob else _below(remote, path)
        for name, size in files:
            empty = False
            yield name if "://" in name else f"{protocol}://{name}", size
    if empty:
        raise InputError(f"no spectra at {url}")


def _matching(remote: Any, pattern: str) -> Iterator[tuple[str, int]]:
    """Yield the files that match a glob, and the files of spectra below the folders that match it."""
    fixed = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    matches = re.compile(glob_translate(pattern)).match
    for name, size in _files(remote, fixed):
        parts = name.split("/")
        folders = ("/".join(parts[:end]) for end in range(fixed.count("/") + 1, len(parts)))
        if matches(name) or (_is_spectra(name) and any(map(matches, folders))):
            yield name, size


def _below(remote: Any, folder: str) -> Iterator[tuple[str, int]]:
    """Yield the files of spectra below a folder, without hidden files and folders."""
    start = folder.rstrip("/") + "/"
    for name, size in _files(remote, start):
        if _is_spectra(name) and "/." not in name[len(start) - 1 :]:
            yield name, size


def _files(remote: Any, start: str) -> Iterator[tuple[str, int]]:
    """Yield name and size of all files whose names begin with ``start``, page by page, as there may be millions."""
    if hasattr(remote, "call_s3"):  # the walk of s3fs holds a whole folder in memory, and a survey may be one folder
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
