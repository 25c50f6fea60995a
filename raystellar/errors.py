"""The error tree.

    RaystellarError
    ├── ConfigError        an option, section or value of the configuration cannot be used
    ├── InputError         an input of the whole job cannot be used
    │   ├── LabelTableError    a table of labels lacks a column, rows or sense
    │   ├── DatasetError       a folder of preprocessed spectra does not fit
    │   └── BundleError        a model bundle is missing, damaged or of another version
    ├── OutputError        the place to write to cannot be used, or holds something else
    ├── KernelError        a compiled kernel gives wrong numbers on this machine
    ├── IncompleteError    a job ended without accounting for every input row
    └── SpectrumError      one spectrum cannot be used: becomes a row of the rejects, never ends a job

Every error but the last ends the program with its message, one sentence that names the subject, the value,
the bound and the cure, and a non-zero exit code. Anything else that is raised is a programming error.
"""

from __future__ import annotations


class RaystellarError(Exception):
    """Raised by raystellar for a cause which the user can mend."""


class ConfigError(RaystellarError):
    """Raised when an option, section or value of the configuration cannot be used."""


class InputError(RaystellarError):
    """Raised when an input of the whole job cannot be used."""


class LabelTableError(InputError):
    """Raised when a table of labels lacks a needed column, rows or sense."""


class DatasetError(InputError):
    """Raised when a folder of preprocessed spectra cannot be used."""


class BundleError(InputError):
    """Raised when a model bundle is missing, damaged, or of another version."""


class OutputError(RaystellarError):
    """Raised when the output cannot be written, or holds the result of another job."""


class KernelError(RaystellarError):
    """Raised when a compiled kernel gives wrong numbers on this machine."""


class IncompleteError(RaystellarError):
    """Raised when a job ended without accounting for every input row."""


class SpectrumError(RaystellarError):
    """Raised when one spectrum cannot be used; caught by the stage and written to its rejects.

    Parameters
    ----------
    stage : where it happened, one of ``schema.REJECT_STAGES``
    reason : a short, countable cause (no values that differ from file to file)
    detail : what was found, for a human
    spec_id : which spectrum, where its file has many and it is known
    """

    def __init__(self, stage: str, reason: str, detail: str = "", spec_id: str = "") -> None:
        super().__init__(stage, reason, detail, spec_id)  # all in args, so that it crosses processes
        self.stage, self.reason, self.detail, self.spec_id = stage, reason, detail, spec_id

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


def first_line(error: BaseException) -> str:
    """Return what an error says, on one line; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
