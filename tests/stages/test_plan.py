"""The size of a job: what is told of its input is true, or is said to be unknown."""

from pathlib import Path

import pytest
from servers import Archive

from raystellar.cli import main
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import Fetcher
from raystellar.stages.plan import SIZES_ASKED, plan, plan_table


@pytest.fixture
def addresses(survey, tmp_path, monkeypatch):
    """A list of the survey's files on a web server, and the bytes of each."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    files = {f"/{path.name}": path.read_bytes() for path in Path(survey, "spectra").rglob("*.fits")}
    with Archive(files) as server:
        (tmp_path / "paths.txt").write_text("\n".join(server.url + name for name in files))
        yield f"@{tmp_path}/paths.txt", [len(content) for content in files.values()]


def test_sizes_on_a_disk_are_known(survey):
    found = plan([f"{survey}/spectra"], sample=4)
    assert found.input_bytes == sum(path.stat().st_size for path in Path(survey, "spectra").rglob("*.fits"))
    assert f"in 44 files, {found.input_bytes / 1e9:.3g} GB\n" in plan_table(found)


def test_sizes_on_a_web_server_are_estimated(addresses):
    place, sizes = addresses
    found = plan([place], sample=4)
    assert found.files == len(sizes)
    assert 0 < found.sizes_asked <= SIZES_ASKED
    assert found.input_bytes == pytest.approx(sum(sizes), rel=0.05)
    assert f" GB by the size of {found.sizes_asked} of them\n" in plan_table(found)


def test_sizes_that_no_server_tells_are_unknown(addresses, monkeypatch, capsys):
    def unknown(*_):
        raise SpectrumError("fetch", "unknown size", "the server does not tell it")

    monkeypatch.setattr(Fetcher, "size", unknown)
    assert main(["plan", addresses[0], "--sample", "4"]) == 0
    assert "in 44 files, their size is unknown\n" in capsys.readouterr().out
