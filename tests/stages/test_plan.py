"""The size of a job: what is told of its input is true, or is said to be unknown."""

from pathlib import Path

import pytest
from servers import Archive

from raystellar.cli import main
from raystellar.errors import SpectrumError
from raystellar.files.fetcher import Fetcher
from raystellar.stages.plan import SIZES_ASKED, START_S, Plan, plan, plan_table


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
    estimate = plan([f"{survey}/spectra"], sample=4)
    assert estimate.input_bytes == sum(path.stat().st_size for path in Path(survey, "spectra").rglob("*.fits"))
    assert f"in 44 files, {estimate.input_bytes / 1e9:.3g} GB\n" in plan_table(estimate)


def test_sizes_on_a_web_server_are_estimated(addresses):
    address, sizes = addresses
    estimate = plan([address], sample=4)
    assert estimate.files == len(sizes)
    assert 0 < estimate.sizes_asked <= SIZES_ASKED
    assert estimate.input_bytes == pytest.approx(sum(sizes), rel=0.05)
    assert f" GB by the size of {estimate.sizes_asked} of them\n" in plan_table(estimate)


def test_sizes_that_no_server_tells_are_unknown(addresses, monkeypatch, capsys):
    def unknown(*_):
        raise SpectrumError("fetch", "unknown size", "the server does not tell it")

    monkeypatch.setattr(Fetcher, "size", unknown)
    assert main(["plan", addresses[0], "--sample", "4"]) == 0
    assert "in 44 files, their size is unknown\n" in capsys.readouterr().out


def test_hours_and_rates_follow_from_the_time_of_a_spectrum():
    numbers = {"files": 10, "spectra": 7_200_000, "input_bytes": None, "sizes_asked": 0, "sample": 5, "rejected": 0}
    estimate = Plan(**numbers, seconds_per_spectrum=0.001, output_bytes=0, worker_bytes=0)
    assert estimate.rate(1) == pytest.approx(1000.0)
    assert estimate.rate(10) == pytest.approx(8000.0)  # several workers keep 80 % of the rate of one
    assert estimate.hours(1) == pytest.approx(2.0 + START_S / 3600)
    assert estimate.hours(10) == pytest.approx(0.25 + START_S / 3600)
    lines = {int(line.split()[0]): line for line in plan_table(estimate).splitlines() if line.split()[0].isdigit()}
    assert "2.0 h" in lines[1]
    assert "19 min" in lines[8]
