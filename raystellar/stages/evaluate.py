r"""Stage: catalogues, models and labels that are known otherwise -> statistics of their differences, and a page.

    catalogue -> its rows                   \
                                             -> beside reference labels -> common stars -> statistics -> page
    model -> rows of a split of a dataset   /

A catalogue is read part by part, and only the needed columns are read. A model labels a split of a dataset in this
process, without Ray. The memory holds some 120 bytes for each star with reference labels.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from raystellar.config import or_default
from raystellar.errors import ConfigError, DatasetError, InputError
from raystellar.evaluation.predictions import (
    Counts,
    Predictions,
    Source,
    SplitLabels,
    catalogue_source,
    gather,
    model_source,
    on_common_stars,
    read_split,
)
from raystellar.evaluation.result import REPEAT_PAIRS, Evaluation, Item, evaluate_item
from raystellar.files import places
from raystellar.files.places import PathOrUrl, as_path
from raystellar.fit.data import Dataset, read_dataset
from raystellar.labels.config import LabelsConfig
from raystellar.labels.truth import Truth, read_truth
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.quality import QualityConfig
from raystellar.report.evaluation.page import evaluation_page
from raystellar.report.write import what_is
from raystellar.schema import SPLITS
from raystellar.targets import TARGET_NAMES

FEW_STARS = 100
"""Number of stars below which a note says that the statistics are uncertain."""


@dataclass(frozen=True)
class Split:
    """The spectra of one split of a dataset, to which a comparison is restricted."""

    dataset: Dataset
    """The dataset."""

    name: str
    """Name of the split."""

    labels: SplitLabels
    """Keys and labels of its spectra."""

    note: str
    """Reason why this split was chosen; empty where the user named the split."""


def evaluate(
    items: PathOrUrl | Iterable[PathOrUrl],
    *,
    labels: PathOrUrl | None = None,
    dataset: PathOrUrl | None = None,
    split: str | None = None,
    page: PathOrUrl | None = None,
    own_stars: bool = False,
    labels_config: LabelsConfig | None = None,
    quality: QualityConfig | None = None,
) -> Evaluation:
    """Compare the labels of catalogues and of models with labels that are known otherwise, on the same stars.

    Rows with ``flag_bad`` are left out. Without ``labels`` and ``dataset`` only repeated spectra of one star are
    compared with each other.

    Parameters
    ----------
    items : folder of a catalogue or of a model bundle, a path or URL; or many of them. The first one is the one that
        ratios refer to
    labels : label table, see ``labels.table.read_labels``, such as the true labels of a simulated survey
    dataset : dataset in which models label the spectra of one split. Only spectra of this split are compared, also
        those of catalogues. Without ``labels`` they are compared with the labels of the dataset
    split : ``train``, ``validation`` or ``test``; by default ``test``, or ``validation`` in a dataset without test rows
    page : HTML file to write, a path or URL
    own_stars : compare each item on all of its stars, not on the stars that all items have
    labels_config : which rows of the label table are compared, and the radius of a join by position
    quality : limits of the flags of rows that a model makes; rows of a catalogue keep their flags

    Raises
    ------
    ConfigError : options contradict each other, or a model is given without a dataset
    InputError : a folder, table or dataset cannot be used, or there is nothing to compare
    OutputError : the page cannot be written
    """
    paths = [as_path(item) for item in ([items] if isinstance(items, str | os.PathLike) else items)]
    kinds = [what_is(path) for path in paths]
    _check(paths, kinds, dataset, split)
    bundles = [load_bundle(path) if kind == "model" else None for path, kind in zip(paths, kinds, strict=True)]
    chosen = _choose_split(read_dataset(dataset), split) if dataset is not None else None
    truth = read_truth(as_path(labels), or_default(labels_config, LabelsConfig)) if labels is not None else None
    quality = or_default(quality, QualityConfig)
    sources = [_source(path, bundle, chosen, quality) for path, bundle in zip(paths, bundles, strict=True)]
    notes = tuple(_notes(paths, bundles, chosen))
    each: list[Predictions] = []
    if truth is None and chosen is None:
        result = _by_repeats(paths, sources)
    else:
        result, each = _by_labels(paths, sources, truth, chosen, own_stars)
        result = replace(result, reference=_reference(labels, chosen), notes=(*notes, *_few(result)))
    if page is not None:
        places.write_bytes(as_path(page), evaluation_page(result, each).encode())
    return result


def _check(paths: Sequence[str], kinds: Sequence[str], dataset: PathOrUrl | None, split: str | None) -> None:
    """Refuse options that contradict each other."""
    if not paths:
        raise ConfigError("there is nothing to evaluate; name catalogues or models")
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r} is none of {', '.join(SPLITS)}")
    if dataset is not None:
        return
    if split is not None:
        raise ConfigError(f"split {split} is a split of a dataset; name the dataset, too (--dataset)")
    models = [path for path, kind in zip(paths, kinds, strict=True) if kind == "model"]
    if models:
        raise ConfigError(
            f"{models[0]} is a model, and there are no spectra that it could label; name a dataset (--dataset), or "
            "label spectra with raystellar label and evaluate the catalogue"
        )


def _choose_split(dataset: Dataset, name: str | None) -> Split:
    """Return the split ``name`` of a dataset; without a name, the test split or else the validation split.

    Raises
    ------
    DatasetError : the split has no row
    """
    counts = dataset.counts()
    note = ""
    if name is None:
        name = "test" if counts["test"] else "validation"
        if name == "validation":
            note = (
                f"dataset {dataset.folder} has no test rows, so its validation rows are compared; they decided which "
                "weights of a model were kept, and new stars may have larger errors"
            )
    if not counts[name]:
        present = ", ".join(f"{split} {count}" for split, count in counts.items())
        raise DatasetError(f"dataset {dataset.folder} has no row of split {name} ({present}); choose another --split")
    return Split(dataset, name, read_split(dataset, name), note)


def _source(path: str, bundle: Bundle | None, chosen: Split | None, quality: QualityConfig) -> Source:
    """Return the rows of a catalogue, or of a model for the chosen split."""
    if bundle is None or chosen is None:
        return catalogue_source(path)
    return model_source(bundle, chosen.dataset, chosen.name, quality)


def _notes(paths: Sequence[str], bundles: Sequence[Bundle | None], chosen: Split | None) -> Iterator[str]:
    """Yield remarks on which stars are compared."""
    if chosen is None:
        yield (
            "catalogues may hold stars that trained their model, whose errors are smaller than those of new stars; "
            "to compare only the test rows of a dataset, name it with --dataset"
        )
        return
    if chosen.note:
        yield chosen.note
    if chosen.name == "train":
        yield "a model has smaller errors on the stars of its training than on new stars"
    for path, bundle in zip(paths, bundles, strict=True):
        if bundle is not None and bundle.data_hash != chosen.dataset.about["digest"]:
            yield f"model {path} was trained on another dataset than {chosen.dataset.folder}, and may know its stars"


def _by_repeats(paths: Sequence[str], sources: Sequence[Source]) -> Evaluation:
    """Return the result for catalogues without reference labels: repeated spectra of one star alone.

    Raises
    ------
    InputError : no catalogue has enough repeated spectra
    """
    items = [
        Item(name, path, source.kind, source.model_id, None, 0, {}, [], {}, source.repeats)
        for name, path, source in zip(_short_names(paths), paths, sources, strict=True)
    ]
    if not any(item.has_repeats for item in items):
        raise InputError(
            f"there is nothing to compare {paths[0]} with: no labels, and {items[0].pairs} pairs of spectra of one "
            f"star, of which at least {REPEAT_PAIRS} are needed; name a label table (--labels) or a dataset (--dataset)"
        )
    return Evaluation(items, "", (), False, ())


def _by_labels(
    paths: Sequence[str], sources: Sequence[Source], truth: Truth | None, chosen: Split | None, own_stars: bool
) -> tuple[Evaluation, list[Predictions]]:
    """Return the result for catalogues and models beside reference labels, and the predictions of each.

    Raises
    ------
    InputError : a catalogue or model has no star to compare, or no star is in all of them
    """
    reference = truth or (chosen.labels if chosen else None)
    assert reference is not None
    within = chosen.labels.key if chosen else None
    each, counts = zip(*(gather(source, reference, within) for source in sources), strict=True)
    for path, stars, count in zip(paths, each, counts, strict=True):
        if not len(stars):
            raise InputError(_no_star(path, count, chosen))
    compared = list(each) if own_stars else on_common_stars(list(each))
    if not len(compared[0]):
        raise InputError(
            f"{' and '.join(paths)} have no star with labels in common; compare each on its own stars (--own-stars)"
        )
    items = [
        Item(
            name,
            path,
            source.kind,
            source.model_id,
            count,
            len(stars),
            *evaluate_item(stars, compared[0]),
            source.repeats,
        )
        for name, path, source, count, stars in zip(_short_names(paths), paths, sources, counts, compared, strict=True)
    ]
    known = [
        name for t, name in enumerate(TARGET_NAMES) if any((stars.label_errors[:, t] > 0.0).any() for stars in compared)
    ]
    table = truth.join.table.summary() if truth else None
    return Evaluation(items, "", tuple(known), not own_stars, (), table), compared


def _no_star(path: str, count: Counts, chosen: Split | None) -> str:
    """Return the message on a catalogue or model without any star to compare."""
    if not count.rows:
        where = f"split {chosen.name} of dataset {chosen.dataset.folder}" if chosen else "it"
        return f"{path} has no row to compare: no row is in {where}; name the dataset of the same survey"
    return (
        f"{path} has no star to compare: of {count.rows} rows {count.bad} are flagged bad and {count.unlabelled} have "
        "no usable label; give the labels of the same survey, named as the spectra are, or join by position "
        "(--match-radius)"
    )


def _reference(labels: PathOrUrl | None, chosen: Split | None) -> str:
    """Return the origin of the reference labels in words."""
    split = f"the {chosen.name} split of {chosen.dataset.folder}" if chosen else ""
    if labels is None:
        return f"the labels in {split}"
    return f"the labels in {as_path(labels)}" + (f", for the spectra of {split}" if split else "")


def _few(result: Evaluation) -> Iterator[str]:
    """Yield a remark where there are few stars."""
    least = min(item.stars for item in result.items)
    if least < FEW_STARS:
        yield f"only {least} stars are compared, so all numbers are uncertain"


def _short_names(paths: Sequence[str]) -> list[str]:
    """Return the last part of each path where it is unique, else the path."""
    last = [path.rstrip("/").rpartition("/")[2] or path for path in paths]
    count = Counter(last)
    return [name if count[name] == 1 else path for name, path in zip(last, paths, strict=True)]
