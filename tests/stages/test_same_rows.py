"""The same spectra give the same rows, bit for bit, whatever format they come in and wherever they lie."""

import dataclasses
import functools
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from servers import Archive, s3_server, use_s3

from raystellar.engine.session import Resources
from raystellar.files import places
from raystellar.output.manifest import table_digest
from raystellar.quality import Flag
from raystellar.simulator import config as settings
from raystellar.simulator import plate_file, plates
from raystellar.spectra import read_spectrum
from raystellar.stages.label import label
from raystellar.stages.preprocess import preprocess
from raystellar.stages.simulate import simulate

LOCAL = Resources(local=True, rows_per_shard=100)  # each plate is in two shards

FORMATS = {"spec files": "spectra", "plates": "26", "table": "table"}
"""Folder of each format."""

PLATES, FIBRES, STARS, SKY = 2, 128, 12, 1
"""Plates, and fibres, stars and sky fibres of each; most fibres are free. (A plate of all 640 has 60 MB.)"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two simulated plates, one of them with labels, in the three formats."""
    root = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        for module in (plate_file, plates, settings):
            patch.setattr(module, "FIBRES", FIBRES)
        config = settings.SimulateConfig(
            stars=PLATES * STARS, stars_per_plate=STARS, sky_fibres=SKY, labelled_fraction=0.5, spplate=True
        )
        simulate(str(root), config, LOCAL)
    for path in root.glob("spectra/*/sp[PZ]*.fits"):
        folder = root / "26" / path.parent.name  # as in the survey's archive, which alone says the plate's run2d
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    (root / "table").mkdir()
    pq.write_table(as_table(sorted(root.glob("spectra/*/*.fits"))), root / "table" / "spectra.parquet")
    return root


def as_table(paths):
    """Return the spectra as a table that another program might have made of the same files."""
    rows = [dataclasses.asdict(read_spectrum(str(path))) for path in paths]
    left_out = ("path", "spec_id", "is_sky", "note")
    return pa.table({name: [row[name] for row in rows] for name in rows[0] if name not in left_out})


def contents(archive):
    """Return name and bytes of every file of the three folders."""
    found = (path for folder in FORMATS.values() for path in sorted(Path(archive, folder).rglob("*.*")))
    return {f"/{path.relative_to(archive)}": path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def local(archive):
    return {name: f"{archive}/{folder}" for name, folder in FORMATS.items()}


@pytest.fixture(scope="module")
def http(archive):
    """A list of addresses for each format: the folders of a web server cannot be listed."""
    with Archive(contents(archive)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        spectra = [name for name in server.files if "spZbest" not in name]
        for form, folder in FORMATS.items():
            listed = [server.url + name for name in spectra if name.startswith(f"/{folder}/")]
            (archive / f"{form}.txt").write_text("\n".join(listed))
        yield {form: f"@{archive}/{form}.txt" for form in FORMATS}


@pytest.fixture(scope="module")
def s3(archive):
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        use_s3(patch, url)
        places.filesystem("s3://survey")[0].mkdir("survey")
        for name, content in contents(archive).items():
            places.write_bytes(f"s3://survey{name}", content)
        yield {name: f"s3://survey/{folder}" for name, folder in FORMATS.items()}


@pytest.fixture(scope="module")
def run(archive, model, tmp_path_factory):
    """What runs a stage on a place and returns its rows and its rejects."""

    @functools.cache
    def work(stage, place):
        out = str(tmp_path_factory.mktemp("out") / stage)
        if stage == "preprocess":
            preprocess([place], f"{archive}/ssppOut.fits", out, resources=LOCAL)
        else:
            label([place], str(model), out, resources=LOCAL)
        return read(out), read(f"{out}/_rejects")

    return work


def read(folder):
    """Return all but the paths, in the order of the names of the spectra; None where there is nothing."""
    parts = [pq.read_table(part) for part in sorted(Path(folder).glob("part-*.parquet"))]
    return pa.concat_tables(parts).sort_by("spec_id").drop_columns("path") if parts else None


def different(found, expected):
    """Return the names of the columns that differ in any bit; 0.0 and -0.0 do, which ``equals`` takes for equal."""
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found["spec_id"].equals(expected["spec_id"])
    digests = [{name: table_digest(table.select([name])) for name in table.column_names} for table in (found, expected)]
    return [name for name in expected.column_names if digests[0][name] != digests[1][name]]


@pytest.mark.parametrize("stage", ["preprocess", "label"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("place", ["local", "http", "s3"])
def test_rows_depend_on_neither_format_nor_place(place, form, stage, run, local, request):
    expected, expected_rejects = run(stage, local["spec files"])
    rows, rejects = run(stage, request.getfixturevalue(place)[form])
    assert not different(rows, expected)
    if form == "plates":  # the other formats know nothing of free fibres
        free = pc.equal(rejects["reason"], "fibre not plugged")
        assert pc.sum(free).as_py() == PLATES * (FIBRES - STARS - SKY)
        rejects = rejects.filter(pc.invert(free))
    if expected_rejects is None:
        assert not rejects
    else:
        assert not different(rejects, expected_rejects)


def test_a_plate_outside_the_archive_does_not_know_its_run2d(archive, run, local):
    (archive / "plates").symlink_to(archive / "26")
    rows, _ = run("label", f"{archive}/plates")
    assert different(rows, run("label", local["spec files"])[0]) == ["run2d"]


def test_stars_sky_and_rejects_are_among_what_is_compared(run, local):
    rows, rejects = run("preprocess", local["spec files"])
    assert rows.num_rows + rejects.num_rows == PLATES * (STARS + SKY)
    assert rows.num_rows > STARS / 2
    assert {"sky fibre", "not in the label table"} <= set(rejects["reason"].to_pylist())
    rows, rejects = run("label", local["spec files"])
    assert rows.num_rows == PLATES * (STARS + SKY)
    assert rejects is None
    assert pc.sum(pc.equal(pc.bit_wise_and(rows["flags"], int(Flag.SKY)), int(Flag.SKY))).as_py() == PLATES * SKY
