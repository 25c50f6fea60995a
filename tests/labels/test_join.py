"""Spectra and rows of a label table are joined by each identity, as a naive loop over names does."""

import dataclasses
import gzip
import pickle

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from labeltables import one_row, save
from source_files import lamost_image, lamost_table, the_one

from raystellar.errors import LabelTableError, SpectrumError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.identity import IDENTITIES, file_stem, keys_shown
from raystellar.labels.join import SEVERAL, Join, Names, check_files
from raystellar.labels.keys import pack_key
from raystellar.labels.splits import SplitConfig, draw_splits
from raystellar.labels.table import read_labels

CONFIG = LabelsConfig(require_rv=False)
N = 60
RNG = np.random.default_rng(4)
NUMBER = 1 + np.arange(N)


def specobjid(plate, mjd, fiberid, run2d):
    """Return the specObjID of one spectrum, as ``pydl.pydlutils.sdss.sdss_specobjid`` packs it."""
    if run2d.startswith("v"):
        n, m, p = map(int, run2d[1:].split("_"))
        run2d = (n - 5) * 10000 + m * 100 + p
    return plate << 50 | fiberid << 38 | (mjd - 50000) << 24 | int(run2d) << 10


SPECTRA = [
    Names(
        path=f"/data/{number % 7}/star-{number}.fits.gz",
        spec_id=f"{2000 + 200 * number}-{55000 + number}-{number}",
        plate=2000 + 200 * number,  # above 8191, specObjIDs are larger than 2**63
        mjd=55000 + number,
        fiberid=number,
    )
    for number in NUMBER.tolist()
]
FIELDS = [
    Names(path=f"f{number}.fits", fieldid=100_000 + number, mjd=60000, catalogid=27021598150202075 + number)
    for number in NUMBER.tolist()
]
LAMOST = [
    Names(
        path=f"l{number}.fits",
        spec_id=f"lamost-{101_000 + number}",
        obs_id=101_000 + number,
        aliases=(f"lamost-55862-B6212-6-{number}",),
    )
    for number in NUMBER.tolist()
]
DESI = [Names(spec_id=f"desi-{39_627_000_000_000_000 + number}") for number in NUMBER.tolist()]
MWM = [Names(spec_id=f"mwmStar-{number}-apo", aliases=(f"mwmStar-{number}",)) for number in NUMBER.tolist()]

COLUMNS = {
    "plate-mjd-fiberid": (
        SPECTRA,
        {name: [getattr(one, name) for one in SPECTRA] for name in ("plate", "mjd", "fiberid")},
    ),
    "specObjID": (SPECTRA, {"specObjID": [specobjid(one.plate, one.mjd, one.fiberid, "v5_7_0") for one in SPECTRA]}),
    "fieldid-mjd-catalogid": (
        FIELDS,
        {name: [getattr(one, name) for one in FIELDS] for name in ("fieldid", "mjd", "catalogid")},
    ),
    "sdss_id": (MWM, {"SDSS_ID": NUMBER.tolist()}),
    "obsid": (LAMOST, {"obsid": [one.obs_id for one in LAMOST]}),
    "lmjd-planid-spid-fiberid": (
        LAMOST,
        {"lmjd": [55862] * N, "planid": ["B6212"] * N, "spid": [6] * N, "fiberid": NUMBER.tolist()},
    ),
    "targetid": (DESI, {"TARGETID": [39_627_000_000_000_000 + number for number in NUMBER.tolist()]}),
    "spec_id": (SPECTRA, {"spec_id": [one.spec_id for one in SPECTRA]}),
    "file name": (SPECTRA, {"path": [f"elsewhere/star-{number}.fits" for number in NUMBER.tolist()]}),
}


def labels_by(identity, order=slice(None), **more):
    """Return the columns of a table of different labels, named by one identity."""
    names = {
        name: np.array(values, dtype="u8" if max(map(len, map(str, values))) > 18 else None)
        if isinstance(values[0], int)
        else np.array(values)
        for name, values in COLUMNS[identity][1].items()
    }
    table = names | {"teff": 5000.0 + NUMBER, "logg": np.full(N, 4.0), "feh": np.full(N, -1.0)}
    return {name: np.asarray(values)[order] for name, values in (table | more).items()}


def teff_of(join, spectrum):
    row = join.row(spectrum)
    return float(join.table.teff[row]) if row >= 0 else None


def test_all_identities_are_tested():
    assert {identity.name for identity in IDENTITIES} == set(COLUMNS)


@pytest.mark.parametrize("suffix", ["csv", "fits", "parquet"])
@pytest.mark.parametrize("identity", COLUMNS)
def test_each_identity_joins_as_a_loop_over_names_does(identity, suffix, tmp_path):
    spectra, names = COLUMNS[identity]
    kept = RNG.permutation(N)[: N // 2]
    path = save(labels_by(identity, kept), tmp_path / f"t.{suffix}", {})
    table = read_labels(path, CONFIG)
    assert table.summary()["by_identity"] == {identity: N // 2}
    rows = dict(zip(zip(*names.values(), strict=True), 5000.0 + NUMBER, strict=True))
    known = {number - 1 for number in NUMBER[kept].tolist()}
    join = pickle.loads(pickle.dumps(Join(table)))
    for at, (name, spectrum) in enumerate(zip(zip(*names.values(), strict=True), spectra, strict=True)):
        assert teff_of(join, spectrum) == (rows[name] if at in known else None)
    columns = {field: [getattr(one, field) for one in spectra] for field in Names.__dataclass_fields__}
    together = join.rows(columns)
    assert together.tolist() == [join.row(spectrum) for spectrum in spectra]


@pytest.mark.parametrize("identity", COLUMNS)
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(N)))
def test_the_order_of_rows_never_matters(identity, order, tmp_path_factory):
    folder = tmp_path_factory.mktemp("order")
    first, again = (
        read_labels(save(labels_by(identity, rows), folder / name), CONFIG)
        for rows, name in ((list(range(N)), "a.csv"), (order, "b.csv"))
    )
    assert (first.digest(), first.summary()) == (again.digest(), again.summary())


def test_the_identity_of_a_row_is_the_first_that_it_has(tmp_path):
    table = {
        "spec_id": ["266-51602-31", "lamost-101001", ""],
        "plate": [266, 0, 0], "mjd": [51602, 0, 0], "fiberid": [31, 0, 0],
        "obsid": [0, 0, 101002],
        "teff": [5000.0, 6000.0, 7000.0], "logg": [4.0] * 3, "feh": [0.0] * 3,
    }  # fmt: skip
    join = Join(read_labels(save({k: np.array(v) for k, v in table.items()}, tmp_path / "t.csv"), CONFIG))
    assert join.table.identities == {"plate-mjd-fiberid": 1, "obsid": 1, "spec_id": 1}
    assert teff_of(join, Names(spec_id="x", plate=266, mjd=51602, fiberid=31)) == 5000.0
    assert teff_of(join, Names(spec_id="lamost-101001", obs_id=101001)) == 6000.0
    assert teff_of(join, Names(spec_id="lamost-101002")) == 7000.0
    assert teff_of(join, Names(spec_id="lamost-101003", obs_id=101003)) is None


def test_the_plate_of_a_table_of_sdss_v_does_not_name_its_spectra(tmp_path):
    table = one_row(plate=15170, mjd=59292, fieldid=15170, catalogid=4570401475)
    join = Join(read_labels(save(table, tmp_path / "t.fits", {}), CONFIG))
    assert join.table.identities == {"fieldid-mjd-catalogid": 1}
    assert join.row(Names(spec_id="15170-59292-4570401475")) == 0
    table |= {"catalogid": np.array([-999])}
    assert read_labels(save(table, tmp_path / "u.csv", {}), CONFIG).identities == {"plate-mjd-fiberid": 1}


def test_a_spectrum_with_several_rows_is_a_reject(tmp_path):
    table = {name: np.repeat(values, 2) for name, values in one_row().items()}
    table |= {"plate": np.array([266, 0]), "file": np.array(["a.fits", "b.fits"])}
    join = Join(read_labels(save(table, tmp_path / "t.csv"), CONFIG))
    spectrum = Names(path="x/b.fits", plate=266, mjd=51602, fiberid=28)
    with pytest.raises(SpectrumError) as caught:
        join.row(spectrum)
    assert (caught.value.stage, caught.value.reason) == ("labels", SEVERAL)
    assert join.rows(
        {"path": ["x/b.fits", "a.fits"], "plate": [266, 1], "mjd": [51602] * 2, "fiberid": [28] * 2}
    ).tolist() == [-1, -1]
    assert "plate-mjd-fiberid or file name" in join.missing(spectrum).detail


# specObjID -------------------------------------------------------------------------------------------------


def test_the_specobjid_is_that_of_the_survey():
    assert specobjid(4055, 55359, 408, "v5_7_0") == 4565636362342690816  # example of pydl
    assert specobjid(266, 51602, 31, "26") == 299497923312379904  # SkyServer
    assert specobjid(10000, 57346, 5, "v5_13_2") > 2**63


@pytest.mark.parametrize("kind", ["i8", "u8", "S20", "U20"])
def test_specobjids_may_be_signed_unsigned_or_text(kind, tmp_path):
    numbers = np.array(COLUMNS["specObjID"][1]["specObjID"], "u8")
    values = numbers.astype("i8") if kind == "i8" else numbers.astype(kind)
    for suffix in ("fits", "parquet", "csv"):
        path = save(labels_by("specObjID", specObjID=values), tmp_path / f"t.{suffix}", {})
        table = read_labels(path, CONFIG)
        np.testing.assert_array_equal(
            table.key,
            np.sort(pack_key(*([getattr(one, part) for one in SPECTRA] for part in ("plate", "mjd", "fiberid")))),
        )


def test_specobjids_that_have_lost_digits_are_refused_in_one_sentence(tmp_path):
    values = np.array(COLUMNS["specObjID"][1]["specObjID"], "f8")
    for suffix in ("fits", "parquet", "csv"):
        path = save(labels_by("specObjID", specObjID=values), tmp_path / f"t.{suffix}", {})
        with pytest.raises(
            LabelTableError, match=r"none of 60 rows names a spectrum, as specObjID of 60 rows.*as text"
        ):
            read_labels(path, CONFIG)
    known = labels_by("plate-mjd-fiberid", specObjID=values)
    assert read_labels(save(known, tmp_path / "k.fits", {}), CONFIG).identities == {"plate-mjd-fiberid": N}


def test_numbers_that_are_no_specobjid_name_no_spectrum(tmp_path):
    dr7 = [plate << 48 | 51602 << 32 | 31 << 22 for plate in (266, 268)]  # the bits until DR7
    values = np.array([*dr7, 1237648720693755918, specobjid(266, 51602, 31, "26")])
    table = {
        name: np.repeat(column, 4) for name, column in one_row().items() if name not in ("plate", "mjd", "fiberid")
    }
    labels = read_labels(save(table | {"specobjid": values}, tmp_path / "t.csv"), CONFIG)
    assert labels.key.tolist() == [266516020031]
    assert any(note.startswith("3 rows name no spectrum") for note in labels.notes)


# Files -----------------------------------------------------------------------------------------------------


def test_a_file_is_known_with_and_without_its_suffixes_and_folders():
    names = ["a.fits", "x/a.fits.gz", "s3://bucket/x/a.fit", "a", "C:\\data\\a.FITS.BZ2", "a.gz"]
    assert {file_stem(name) for name in names} == {"a"}
    assert file_stem("a.b.fits") == "a.b"


def by_file(tmp_path, names, teff):
    table = {name: np.repeat(values, len(names)) for name, values in one_row().items()}
    for part in ("plate", "mjd", "fiberid"):
        del table[part]
    return save(table | {"file": np.array(names), "teff": np.array(teff)}, tmp_path / "t.csv")


def test_one_file_name_with_two_labels_is_refused(tmp_path):
    same = read_labels(by_file(tmp_path, ["x/a.fits", "y/a.fits"], [5000.0, 5000.0]), CONFIG)
    assert (len(same), same.duplicates) == (1, 1)
    with pytest.raises(
        LabelTableError, match=r"different labels under one file name, such as x/a\.fits, y/a\.fits; give"
    ):
        read_labels(by_file(tmp_path, ["x/a.fits", "b.fits", "y/a.fits"], [5000.0, 6000.0, 5001.0]), CONFIG)


def test_files_that_do_not_tell_their_spectrum_are_refused(tmp_path):
    table = read_labels(by_file(tmp_path, ["a.fits", "b.fits"], [5000.0, 6000.0]), CONFIG)
    counts = pa.chunked_array([pa.array([None, 1, None], pa.int32())])
    check_files(table, pa.chunked_array([["x/a.fits", "x/c.fits", "y/c.fits"]]), counts)
    with pytest.raises(LabelTableError, match=r"several files have that name: x/a\.fits, y/a\.fits\.gz"):
        check_files(table, pa.chunked_array([["x/a.fits", "x/c.fits", "y/a.fits.gz"]]), counts)
    with pytest.raises(LabelTableError, match=r"names x/b\.fits, which holds 640 spectra"):
        check_files(table, pa.chunked_array([["x/a.fits", "x/b.fits"]]), pa.chunked_array([pa.array([None, 640])]))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a/spec-0266-51602-0031.fits.gz", "plate-mjd-fiberid"),
        ("spec-112360-60000-27021598150202075.fits", "fieldid-mjd-catalogid"),
        ("spec-55862-B6212_sp06-003.fits", "lmjd-planid-spid-fiberid"),
        ("star.fits", None),
    ],
)
def test_names_of_files_show_identities(path, shown):
    assert set(keys_shown(path)) == {"file name", shown} - {None}


@pytest.mark.parametrize("identity", COLUMNS)
def test_counts_are_drawn_from_the_rows_whose_files_are_there(identity, tmp_path):
    """Where the names of files do not show which rows they belong to, all rows count as present."""
    paths = {
        "plate-mjd-fiberid": [f"spec-{one.spec_id}.fits" for one in SPECTRA],
        "specObjID": [f"spec-{one.spec_id}.fits" for one in SPECTRA],
        "spec_id": [f"spec-{one.spec_id}.fits" for one in SPECTRA],
        "fieldid-mjd-catalogid": [f"spec-{one.fieldid}-{one.mjd}-{one.catalogid}.fits" for one in FIELDS],
        "lmjd-planid-spid-fiberid": [f"spec-55862-B6212_sp06-{number:03d}.fits.gz" for number in NUMBER],
        "file name": [one.path for one in SPECTRA],
    }.get(identity)
    table = read_labels(save(labels_by(identity), tmp_path / "t.csv", {}), CONFIG)
    names = pa.chunked_array([(paths or ["lamost.fits", "desi.fits"] * N)[: N // 3]])
    there = N // 3 if paths else N
    split = draw_splits(table, names, SplitConfig(train=float(there), validation=0.0, test=0.0))
    drawn = {round(float(teff)) - 5000 for teff in table.teff[split == 0]}
    assert drawn == set(NUMBER[:there].tolist())
    with pytest.raises(LabelTableError, match=f"asked for and {there} are usable"):
        draw_splits(table, names, SplitConfig(train=there + 1.0, validation=0.0, test=0.0))
    if identity == "file name":
        return  # whose spectra are in no other files
    more = pa.chunked_array([[*names.to_pylist(), "spectra.parquet"]])
    assert (draw_splits(table, more, SplitConfig(train=float(N), validation=0.0, test=0.0)) == 0).all()


# Positions -------------------------------------------------------------------------------------------------


def sky(n, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def by_position(ra, dec, path, radius, **more):
    table = {name: np.repeat(values, len(ra)) for name, values in one_row().items()}
    table |= {"plate": 266 + np.arange(len(ra)), "ra": ra, "dec": dec, "teff": 5000.0 + np.arange(len(ra))}
    return read_labels(save(table | more, path), dataclasses.replace(CONFIG, match_radius_arcsec=radius))


@pytest.mark.parametrize("radius", [0.5, 3.0, 60.0])
def test_positions_are_matched_as_astropy_matches_them(radius, tmp_path):
    ra, dec = sky(400, 1)
    ra[:4], dec[:4] = [0.0, 359.99, 120.0, 200.0], [1.0, -1.0, 89.99, -90.0]
    table = by_position(ra, dec, tmp_path / "t.fits", radius)
    rng = np.random.default_rng(2)
    away = rng.uniform(0, 2 * radius, 400) * units.arcsec
    places = SkyCoord(ra, dec, unit="deg").directional_offset_by(rng.uniform(0, 360, 400) * units.deg, away)
    spectra = [Names(ra=a, dec=d) for a, d in zip(places.ra.deg % 360, places.dec.deg, strict=True)]
    rows = SkyCoord(table.ra, table.dec, unit="deg")
    nearest, separation, _ = places.match_to_catalog_sky(rows)
    expected = np.where(separation <= radius * units.arcsec, nearest, -1)
    join = pickle.loads(pickle.dumps(Join(table)))
    assert [join.row(spectrum) for spectrum in spectra] == expected.tolist()
    assert 100 < (expected >= 0).sum() < 300
    assert table.identities == {"position": 400}
    columns = {"ra": places.ra.deg, "dec": places.dec.deg, "plate": [266] * 400}
    assert join.rows(columns).tolist() == expected.tolist()


def test_a_spectrum_between_two_rows_is_a_reject(tmp_path):
    table = by_position(np.array([10.0, 10.0]), np.array([0.0, 3.0 / 3600]), tmp_path / "t.csv", 2.0)
    with pytest.raises(SpectrumError, match=SEVERAL):
        Join(table).row(Names(ra=10.0, dec=1.5 / 3600))
    assert Join(table).row(Names(ra=10.0, dec=0.5 / 3600)) >= 0
    for ra, dec in ((np.nan, 0.0), (10.0, np.nan), (10.0, -9999.0), (10.0, -1.0)):
        assert Join(table).row(Names(ra=ra, dec=dec)) == -1


def test_rows_closer_than_the_radius_are_refused(tmp_path):
    ra, dec = np.array([10.0, 10.0, 50.0]), np.array([0.0, 3.0 / 3600, 0.0])
    assert len(by_position(ra, dec, tmp_path / "t.csv", 2.9)) == 3
    with pytest.raises(
        LabelTableError,
        match=r"1 pairs of rows within 3.1 arcsec .* 10.000000 \+0.000000 and 10.000000 \+0.000833; keep",
    ):
        by_position(ra, dec, tmp_path / "t.csv", 3.1)
    same = np.array([10.0, 370.0]), np.array([-0.0, 0.0])
    with pytest.raises(LabelTableError, match=r"different labels at one position, such as 10.000000 \+0.000000; keep"):
        by_position(*same, tmp_path / "t.csv", 1.0)
    assert by_position(*same, tmp_path / "t.csv", 1.0, teff=np.array([5000.0, 5000.0])).duplicates == 1


def test_a_join_by_position_needs_positions_and_no_names(tmp_path):
    config = dataclasses.replace(CONFIG, match_radius_arcsec=1.0)
    with pytest.raises(LabelTableError, match="no column for ra"):
        read_labels(save(one_row(), tmp_path / "t.csv"), config)
    table = {"ra": [10.0, np.nan], "dec": [0.0, 5.0], "teff": [5000.0] * 2, "logg": [4.0] * 2, "feh": [0.0] * 2}
    labels = read_labels(save({k: np.array(v) for k, v in table.items()}, tmp_path / "u.csv"), config)
    assert len(labels) == 1
    assert "1 rows have no position and were left out" in labels.notes
    by_name = dataclasses.replace(CONFIG, star_radius_arcsec=1.0)
    with pytest.raises(LabelTableError, match="does not name its spectra: it has ra, dec, teff, logg, feh; it needs"):
        read_labels(f"{tmp_path}/u.csv", by_name)


def test_the_radius_of_the_join_is_part_of_the_digest(tmp_path):
    ra, dec = sky(50, 3)
    digests = {by_position(ra, dec, tmp_path / "t.csv", radius).digest() for radius in (1.0, 2.0)}
    assert len(digests) == 2


# LAMOST ----------------------------------------------------------------------------------------------------


def test_lamost_spectra_are_joined_by_obsid_and_by_fibre(tmp_path):
    new, old = the_one(gzip.compress(lamost_table())), the_one(lamost_image())
    assert (new.obs_id, new.aliases) == (101001, ("lamost-55862-B6212-6-3",))
    labels = {"teff": [5000.0], "logg": [4.0], "feh": [0.0]}
    by_obsid = Join(read_labels(save(labels | {"obsid": [101001]}, tmp_path / "a.csv"), CONFIG))
    fibre = {"lmjd": [55862], "planid": ["B6212"], "spid": [6], "fiberid": [3]}
    by_fibre = Join(read_labels(save(labels | fibre, tmp_path / "b.csv"), CONFIG))
    assert (by_obsid.row(new), by_fibre.row(new), by_fibre.row(old)) == (0, 0, 0)
    assert by_fibre.row(Names(path="x/spec-55862-B6212_sp06-003.fits.gz")) == 0
