"""The star of each row and the primary row of each star, compared with a naive loop; and the job that writes them."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import Archive

from raystellar.catalog.repeats import RADIUS_ARCSEC, find_stars
from raystellar.cli import main
from raystellar.engine.session import Resources
from raystellar.errors import OutputError
from raystellar.files import places
from raystellar.output.folder import ShardedOutput
from raystellar.schema import CATALOG, RUN_NAME, SUMMARY_NAME, described_schema
from raystellar.stages.label import finish, label

LOCAL = Resources(local=True, rows_per_shard=7)
POSITIONS = 60


def catalogue(seed=0, rows=300):
    """Return rows at few positions: repeats, spectra in two files, no names, no positions, and a plate centre."""
    rng = np.random.default_rng(seed)
    position = rng.integers(0, POSITIONS, rows)
    ra, dec = rng.uniform(0, 360, POSITIONS)[position], rng.uniform(-80, 80, POSITIONS)[position]
    ra, dec = ra + rng.normal(0, 0.4 / 3600, rows), dec + rng.normal(0, 0.4 / 3600, rows)
    plate, fiberid = rng.integers(1, 4, rows), np.arange(rows)
    name = np.array([f"{p}-50000-{f}" for p, f in zip(plate, fiberid, strict=True)], dtype=object)
    unknown = rng.random(rows) < 0.1
    ra[unknown] = np.nan
    plate[200:260] = 0  # another survey
    name[200:250] = [f"lamost-{n // 2}" for n in range(50)]
    name[250:260] = ["", "lamost----"] * 5
    plate[260:280], fiberid[260:280], name[260:280] = plate[:20], fiberid[:20], name[:20]  # on plates and in files
    plate[280:], ra[280:], dec[280:] = 3, 10.0, 20.0  # a centre
    name[280:] = [f"3-50000-{n}" for n in range(280, rows)]
    sn = rng.integers(5, 8, rows).astype(np.float32)
    sn[rng.random(rows) < 0.05] = np.nan
    bad = rng.random(rows) < 0.2
    values = {
        "path": [f"f{rng.integers(100)}-{n}" for n in range(rows)],
        "spec_id": name, "plate": plate, "mjd": np.full(rows, 50000), "fiberid": fiberid,
        "ra": pa.array(ra, from_pandas=True), "dec": dec, "sn": pa.array(sn, from_pandas=True),
        "flag_bad": bad, "flag_warn": bad | (rng.random(rows) < 0.3),
    }  # fmt: skip
    for scale, one in ((50, "teff"), (0.1, "feh"), (0.2, "logg")):
        values |= {one: rng.normal(0, scale, rows), f"e_{one}": rng.uniform(0.5, 1.5, rows) * scale}
    return pa.table({key: value if isinstance(value, pa.Array) else pa.array(value) for key, value in values.items()})


def find(table, cuts=()):
    """Find the stars of a table that is cut into parts."""
    bounds = [0, *sorted(cuts), len(table)]
    parts = [table.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    return find_stars(lambda names: [part.select(names) for part in parts])


def angle(a, b):
    ra, dec = (np.radians(np.array([a[name], b[name]], dtype=float)) for name in ("ra", "dec"))
    half = np.sin(np.diff(dec) / 2) ** 2 + np.cos(dec).prod() * np.sin(np.diff(ra) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(half)))[0] * 3600


def naive_groups(rows):
    """Return the group of each row by comparing all pairs until nothing changes."""
    centre = {(r["ra"], r["dec"]) for r, s in itertools.combinations(rows, 2) if r["plate"] == s["plate"] != 0
              and (r["ra"], r["dec"]) == (s["ra"], s["dec"]) and r["spec_id"] != s["spec_id"]}  # fmt: skip
    group, links = list(range(len(rows))), []
    for i, j in itertools.combinations(range(len(rows)), 2):
        a, b = rows[i], rows[j]
        placed = all(r["ra"] is not None and (r["ra"], r["dec"]) not in centre for r in (a, b))
        named = a["spec_id"] == b["spec_id"] not in ("", "lamost----")
        if named or (placed and angle(a, b) <= RADIUS_ARCSEC):
            links.append((i, j))
    while any(group[i] != group[j] for i, j in links):
        for i, j in links:
            group[i] = group[j] = min(group[i], group[j])
    return group


def naive_best(rows, group):
    def merit(i):
        row = rows[i]
        sn = -np.inf if row["sn"] is None else row["sn"]
        # names of other surveys have no order that a user could know: the better of two is either
        return row["flag_bad"], row["flag_warn"], -sn, row["plate"], row["fiberid"], row["path"]

    return {g: min((i for i in range(len(rows)) if group[i] == g), key=merit) for g in set(group)}


def test_stars_and_primary_rows_equal_those_of_a_naive_loop():
    table = catalogue()
    rows, stars_found = table.to_pylist(), find(table)
    group = naive_groups(rows)
    pairs = set(zip(group, stars_found.star_id.tolist(), strict=True))
    assert len(pairs) == len(set(group)) == len(set(stars_found.star_id.tolist())) == stars_found.summary["stars"]
    assert stars_found.summary["plate_centres"] == 20
    best = naive_best(rows, group)
    primary = np.flatnonzero(stars_found.is_primary)
    assert sorted(group[i] for i in primary) == sorted(best)  # one of each
    for i in primary:
        other = best[group[i]]
        for name in ("flag_bad", "flag_warn", "sn"):
            assert rows[i][name] == rows[other][name]
        if rows[i]["plate"] and rows[other]["plate"]:
            assert i == other


def test_stars_depend_on_neither_the_order_of_rows_nor_the_parts():
    table = catalogue(1)
    table = table.filter(pa.array(~np.isin(table["spec_id"].to_numpy(), ("lamost----", ""))))
    stars_found, rng = find(table), np.random.default_rng(2)
    for _ in range(5):
        order = rng.permutation(len(table))
        again = find(table.take(order), rng.integers(0, len(table), 6))
        np.testing.assert_array_equal(again.star_id, stars_found.star_id[order])
        np.testing.assert_array_equal(again.is_primary, stars_found.is_primary[order])
        assert again.summary == stars_found.summary


def test_the_star_is_named_by_its_smallest_key():
    table = catalogue().slice(0, 200)
    key = np.array([plate * 10**9 + 50000 * 10**4 + fibre for plate, fibre in zip(
        table["plate"].to_pylist(), table["fiberid"].to_pylist(), strict=True)])  # fmt: skip
    star = find(table).star_id
    for one in np.unique(star):
        assert key[star == one].min() == one


def repeated(stars, each, spread=1.0):
    """Return ``each`` spectra of every star, with differences of ``spread`` times their errors."""
    rng = np.random.default_rng(5)
    rows = stars * each
    star, zero = np.repeat(np.arange(stars), each), np.zeros(rows, bool)
    values = {"path": [str(n) for n in range(rows)], "spec_id": [f"1-{n}-1" for n in range(rows)]}
    values |= {"plate": np.ones(rows, int), "mjd": np.arange(rows), "fiberid": np.ones(rows, int)}
    values |= {"ra": star * 0.01, "dec": star * 0.0, "sn": rng.random(rows), "flag_bad": zero, "flag_warn": zero}
    for name, scale in (("teff", 100.0), ("feh", 0.1), ("logg", 0.2)):
        error = scale * rng.uniform(0.8, 1.2, rows)
        values |= {name: rng.normal(0, spread * error), f"e_{name}": error}
    return pa.table({name: pa.array(value) for name, value in values.items()})


@pytest.mark.parametrize(("each", "spread"), [(2, 1.0), (3, 2.0)])
def test_the_scatter_of_repeats_is_what_was_put_in(each, spread):
    stars_found = find(repeated(3000, each, spread)).summary["repeats"]
    assert (stars_found["stars"], stars_found["rows"]) == (3000, 3000 * each)
    for name, scale in (("teff", 100.0), ("feh", 0.1), ("logg", 0.2)):
        assert stars_found[name]["scatter"] == pytest.approx(scale * spread, rel=0.06)
        assert stars_found[name]["pull"] == pytest.approx(spread, rel=0.06)
        assert stars_found[name]["pull_robust"] == pytest.approx(spread, rel=0.06)


def test_rows_that_are_no_repeats_are_not_compared():
    table = repeated(10, 2)
    twice = pa.concat_tables([table, table.set_column(0, "path", [[f"b{n}" for n in range(20)]])])
    assert find(twice).summary["repeats"] == find(table).summary["repeats"]  # the same spectra in other files
    bad = table.set_column(table.column_names.index("flag_bad"), "flag_bad", [[True, False] * 10])
    empty = {"scatter": None, "pull": None, "pull_robust": None}
    stars_found = find(bad).summary["repeats"]
    assert (stars_found["stars"], stars_found["rows"]) == (0, 0)
    assert stars_found["teff"] == {"unit": "K", **empty}
    assert find(table.slice(0, 0)).summary["stars"] == 0


# The job ----------------------------------------------------------------------------------------------------


def rows(folder):
    return pa.concat_tables(pq.read_table(part) for part in sorted(Path(folder).glob("part-*"))).sort_by("path")


def times(folder):
    return {part.name: part.stat().st_mtime_ns for part in Path(folder).glob("part-*")}


@pytest.fixture
def plates(survey):
    return sorted(str(path) for path in Path(survey, "spectra").iterdir())


@pytest.fixture(scope="module")
def whole(survey, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "catalog"
    return out, label([f"{survey}/spectra"], str(model), str(out), resources=LOCAL)


def test_every_star_of_a_survey_has_one_primary_row(survey, whole):
    table = rows(whole[0]).to_pylist()
    primary = [row for row in table if row["is_primary"]]
    assert len(primary) == len({row["star_id"] for row in table}) == whole[1].repeats["stars"]
    truth = {row["path"]: row for row in pq.read_table(Path(survey, "truth.parquet")).to_pylist()}
    stars = [truth[path] for row in table if (path := row["path"].removeprefix(f"{survey}/")) in truth]
    assert len(table) - len(primary) == len(stars) - len({(star["ra"], star["dec"]) for star in stars}) > 0
    assert json.loads((whole[0] / SUMMARY_NAME).read_text()) == whole[1].repeats


def test_only_added_files_are_labelled(whole, plates, model, tmp_path):
    out = tmp_path / "catalog"
    label(plates[2:], str(model), str(out), resources=LOCAL)
    before = rows(out)
    summary = label(plates, str(model), str(out), resources=LOCAL)
    assert summary.job.resumed_rows == len(before)
    assert summary.notes == ()
    assert rows(out).equals(rows(whole[0]))
    assert summary.repeats == whole[1].repeats
    assert summary.job.accounting == whole[1].job.accounting
    done = times(out)
    summary = label(plates[:1], str(model), str(out), resources=LOCAL)
    further = len(before) + len(list(Path(plates[1]).iterdir()))
    assert summary.notes == (f"{further} further files were in the catalogue already and stay there",)
    assert times(out) == done


@pytest.mark.parametrize("writes", range(11))
def test_a_job_killed_after_any_write_is_finished_by_the_next_run(writes, whole, plates, model, tmp_path, monkeypatch):
    out = str(tmp_path / "catalog")
    label(plates[2:], str(model), out, resources=LOCAL)
    write, left = places.write_bytes, [writes]

    def mortal(path, *arguments, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(places, "write_bytes", mortal)
        with pytest.raises(KeyboardInterrupt):
            label(plates, str(model), out, resources=LOCAL)
    if writes:  # the manifest is there: the catalogue is not finished, and says so
        assert main(["export", out, "--out", str(tmp_path / "c.csv")]) == 1
    summary = label(plates, str(model), out, resources=LOCAL)
    assert rows(out).equals(rows(whole[0]))
    assert summary.repeats == whole[1].repeats
    assert json.loads(Path(out, RUN_NAME).read_text())["rows"] == summary.job.accounting.rows_in


def test_only_changed_parts_are_written_again(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "catalog")
    output = ShardedOutput(str(tmp_path / "catalog"), described_schema(CATALOG, "catalog"))
    done = times(tmp_path / "catalog")
    assert finish(output) == whole[1].repeats
    assert times(tmp_path / "catalog") == done
    part = output.part(1)
    at = part.column_names.index("star_id")
    output.write_part(1, part.set_column(at, "star_id", pa.nulls(len(part), pa.int64())))
    finish(output)
    changed = [name for name, time in times(tmp_path / "catalog").items() if time != done[name]]
    assert changed == ["part-00001.parquet"]
    assert rows(tmp_path / "catalog").equals(rows(whole[0]))


def test_a_damaged_part_is_named_and_no_summary_written(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "catalog")
    output = ShardedOutput(str(tmp_path / "catalog"), described_schema(CATALOG, "catalog"))
    output.remove_summary()
    (tmp_path / "catalog" / "part-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"part-00002\.parquet is damaged"):
        finish(output)
    assert output.summary() is None


def test_a_catalogue_on_a_server_grows(whole, plates, model, tmp_path):
    out = "memory://repeats/catalog"
    for some in (plates[:1], plates):
        summary = label(some, str(model), out, resources=LOCAL)
    assert summary.repeats == whole[1].repeats
    assert main(["export", out, "--out", str(tmp_path / "c.parquet")]) == 0
    assert pq.read_table(tmp_path / "c.parquet").sort_by("path").equals(rows(whole[0]))


def test_another_model_is_refused_and_a_changed_file_named(whole, plates, model, survey, tmp_path):
    shutil.copytree(whole[0], tmp_path / "catalog")
    out = str(tmp_path / "catalog")
    with pytest.raises(OutputError, match="different: the label table"):
        label(plates, str(model), out, labels=f"{survey}/ssppOut.fits", resources=LOCAL)
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "one.fits"
    shutil.copy(next(Path(plates[0]).iterdir()), file)
    label([str(file)], str(model), out, resources=LOCAL)
    file.write_bytes(file.read_bytes() + bytes(2880))
    for retry in (False, True):  # it was no reject
        with pytest.raises(OutputError, match=r"one\.fits has changed since"):
            label([str(file)], str(model), out, resources=LOCAL, retry_rejects=retry)


def test_a_rejected_file_that_was_mended_is_tried_again(whole, plates, model, tmp_path):
    (tmp_path / "in").mkdir()
    for plate in plates:
        for path in Path(plate).iterdir():
            shutil.copy(path, tmp_path / "in")
    half = sorted((tmp_path / "in").iterdir())[8]
    content = half.read_bytes()
    half.write_bytes(content[:60_000])
    spectra, out = [str(tmp_path / "in")], tmp_path / "catalog"
    first = label(spectra, str(model), str(out), resources=LOCAL)
    assert first.job.accounting.rejected.total() == 1
    half.write_bytes(content)
    before = times(out)
    with pytest.raises(OutputError, match=r"has changed since .* add --retry-rejects"):
        label(spectra, str(model), str(out), resources=LOCAL)
    assert times(out) == before
    again = label(spectra, str(model), str(out), resources=LOCAL, retry_rejects=True)
    assert again.job.accounting.rejected.total() == 0
    assert again.job.accounting.rows_in - again.job.resumed_rows <= LOCAL.rows_per_shard
    assert rows(out).drop_columns("path").equals(rows(whole[0]).drop_columns("path"))
    assert label(spectra, str(model), str(out), resources=LOCAL).job.resumed_rows == len(rows(out))  # nothing is left


def test_a_file_that_could_not_be_fetched_is_tried_again(whole, plates, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    spectra = sorted(path for plate in plates for path in Path(plate).iterdir())
    with Archive({f"/{path.name}": path.read_bytes() for path in spectra}) as server:
        content = server.files.pop(missing := f"/{spectra[8].name}")
        listed = tmp_path / "paths.txt"
        listed.write_text("\n".join(f"{server.url}/{path.name}" for path in spectra))
        words = ["label", str(listed), "--model", str(model), "--out", str(tmp_path / "c"), "--local", "--no-report"]
        words += ["--set", "resources.rows_per_shard=7"]
        assert main(words) == 0
        assert "rejected 1\n         1  fetch: " in capsys.readouterr().out
        server.add(missing, content)
        asked = server.asked.total()
        assert main(words) == 0
        assert "rejected 1 " in capsys.readouterr().out
        assert server.asked.total() == asked
        assert main([*words, "--retry-rejects"]) == 0
        assert "rejected 0 (37 were done before)" in capsys.readouterr().out
    assert rows(tmp_path / "c").drop_columns("path").equals(rows(whole[0]).drop_columns("path"))


def test_only_primary_rows_are_exported(whole, tmp_path, capsys):
    assert main(["export", str(whole[0]), "--out", str(tmp_path / "c.parquet"), "--primary"]) == 0
    table = rows(whole[0])
    best = table.filter(table["is_primary"])
    assert capsys.readouterr().out.startswith(f"{len(best)} of {len(table)} rows")
    assert pq.read_table(tmp_path / "c.parquet").sort_by("path").equals(best)
    Path(tmp_path, "catalog").symlink_to(whole[0])
    shutil.copytree(whole[0], tmp_path / "open")
    (tmp_path / "open" / SUMMARY_NAME).unlink()
    assert main(["export", str(tmp_path / "open"), "--out", str(tmp_path / "d.csv")]) == 1
    assert "the primary row of each star is not chosen" in capsys.readouterr().err


def test_rows_of_tables_without_names_are_stars_of_their_own():
    values = {name: [0, 0] for name in ("plate", "mjd", "fiberid")} | {name: [1.0, 2.0] for name in ("ra", "dec", "sn")}
    table = pa.table(values | {
        "path": ["a/stars.parquet", "b/stars.parquet"], "spec_id": ["stars.parquet#0"] * 2,
        "flag_bad": [False] * 2, "flag_warn": [False] * 2,
        **{name: [1.0, 2.0] for one in ("teff", "feh", "logg") for name in (one, f"e_{one}")},
    })  # fmt: skip
    assert find(table).is_primary.tolist() == [True, True]
