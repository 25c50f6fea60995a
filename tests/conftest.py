"""Fixtures of the whole suite."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


LONG_S = 600
"""Limit of a test that starts Ray or programs of its own [s]; all others have the limit of pyproject.toml."""


def pytest_collection_modifyitems(config, items):
    """Give tests that wait for other processes minutes, and all tests more on a machine that is busy already."""
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 1.0
    for item in items:
        waits = item.get_closest_marker("ray") or item.get_closest_marker("processes")
        limit = LONG_S if waits else float(config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(busy * limit, func_only=True))


@pytest.fixture(autouse=True)
def log_as_it_was():
    """Undo what the program does to the log, which outlives a call of ``main``."""
    yield
    logger = logging.getLogger("raystellar")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real survey files; tests that ask for it are skipped where there is none."""
    folder = Path(os.environ.get("RAYSTELLAR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real survey files in {folder}; set RAYSTELLAR_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of inputs that once came out wrong; tests that ask for it are skipped where there is none."""
    data = Path(os.environ.get("RAYSTELLAR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no inputs that came out wrong in {folder}; set RAYSTELLAR_TEST_DATA to a folder beside it")
    return folder


@pytest.fixture(scope="session")
def survey(tmp_path_factory) -> Path:
    """A simulated survey of 40 stars and 4 sky fibres on 4 plates, 3 of them with labels."""
    from raystellar.engine.session import Resources
    from raystellar.simulator.config import SimulateConfig
    from raystellar.stages.simulate import simulate

    out = tmp_path_factory.mktemp("survey")
    config = SimulateConfig(stars=40, stars_per_plate=10, sky_fibres=1, labelled_fraction=0.75, repeat_fraction=0.1)
    simulate(str(out), config, Resources(local=True))
    return out


@pytest.fixture(scope="session")
def model(survey, tmp_path_factory) -> Path:
    """A bundle fitted to that survey for two epochs: whole, though it has learnt little."""
    from raystellar.engine.session import Resources
    from raystellar.fit.config import FitConfig
    from raystellar.labels.splits import SplitConfig
    from raystellar.stages.preprocess import preprocess
    from raystellar.stages.train import train

    folder = tmp_path_factory.mktemp("model")
    preprocess(
        [f"{survey}/spectra"],
        f"{survey}/ssppOut.fits",
        f"{folder}/dataset",
        splits=SplitConfig(train=0.7, validation=0.3, test=0.0),
        resources=Resources(local=True),
    )
    fit = FitConfig(epochs=2, least_steps=0, members=2)
    train(f"{folder}/dataset", f"{folder}/model", fit=fit, report=lambda *_: None)
    return folder / "model"


@pytest.fixture(scope="session")
def labelled(survey, model, tmp_path_factory) -> Path:
    """The catalogue of that survey, and of two files that hold no spectrum, in shards of 7 rows."""
    from raystellar.engine.session import Resources
    from raystellar.stages.label import label

    folder = tmp_path_factory.mktemp("labelled")
    (folder / "bad").mkdir()
    (folder / "bad" / "empty.fits").write_bytes(b"")
    (folder / "bad" / "table.fits").write_bytes(Path(survey, "ssppOut.fits").read_bytes())
    resources = Resources(local=True, rows_per_shard=7)
    label([f"{survey}/spectra", f"{folder}/bad"], str(model), f"{folder}/catalog", resources=resources)
    return folder / "catalog"


@pytest.fixture(scope="session")
def ray_session():
    """The one Ray session of the suite."""
    import ray

    from raystellar.engine.session import Resources, session

    with session(Resources()):
        yield ray
