import gzip
import os

import numpy as np
import pytest
from labeltables import CAS, OWN, SSPP, one_row, rows, save

from raystellar.cli.commands import fetch_list
from raystellar.errors import ConfigError, LabelTableError, OutputError
from raystellar.files import listing, places
from raystellar.labels.addresses import (
    RELEASES,
    FieldName,
    address,
    field_address,
    read_run2d,
    run2d_of_plate,
    write_addresses,
)
from raystellar.labels.config import LabelsConfig
from raystellar.labels.table import read_labels

SURE = LabelsConfig(require_rv=False)


def stars(*plates, **columns):
    """Return a usable row for each (plate, mjd), with other columns."""
    table = {name: np.repeat(values, len(plates)) for name, values in one_row().items()}
    table |= {"plate": np.array([plate for plate, _ in plates]), "mjd": np.array([mjd for _, mjd in plates])}
    table["fiberid"] = np.arange(len(plates)) + 1
    return table | {name: np.array(values) for name, values in columns.items()}


def lines(out):
    return places.read_bytes(str(out)).decode().splitlines()


def test_addresses_are_those_of_the_archive():
    base = "https://data.sdss.org/sas"
    assert address(266, 51602, 31, "26") == (
        f"{base}/dr12/sdss/spectro/redux/26/spectra/lite/0266/spec-0266-51602-0031.fits"
    )
    assert address(4961, 55719, 378, "v5_7_0", full=True) == (
        f"{base}/dr12/boss/spectro/redux/v5_7_0/spectra/4961/spec-4961-55719-0378.fits"
    )
    assert address(10000, 57346, 2, "v5_13_2", release="dr17", full=True) == (
        f"{base}/dr17/eboss/spectro/redux/v5_13_2/spectra/full/10000/spec-10000-57346-0002.fits"
    )
    assert address(751, 52251, 160, "26", release="dr17", full=True, base="s3://bucket/sas/") == (
        "s3://bucket/sas/dr17/sdss/spectro/redux/26/spectra/0751/spec-0751-52251-0160.fits"
    )


@pytest.mark.parametrize(
    ("release", "plates"),
    [
        ("dr13", "dr13/eboss/spectro/redux/v5_9_0/spectra/{}3586"),
        ("dr14", "dr14/eboss/spectro/redux/v5_10_0/spectra/{}3586"),
        ("dr15", "dr15/eboss/spectro/redux/v5_10_0/spectra/{}3586"),
        ("dr16", "dr16/eboss/spectro/redux/v5_13_0/spectra/{}3586"),
        ("dr17", "dr17/eboss/spectro/redux/v5_13_2/spectra/{}3586"),
        ("dr18", "dr18/spectro/sdss/redux/v5_13_2/spectra/{}3586"),
        ("dr20", "dr20/spectro/sdss/redux/v5_13_2/spectra/{}3586"),
    ],
)
def test_plates_of_each_release_have_their_folder(release, plates):
    for full, kind in ((False, "lite/"), (True, "full/" if release >= "dr16" else "")):
        wanted = f"B/{plates.format(kind)}/spec-3586-55181-0500.fits"
        run2d = run2d_of_plate(3586, 55181, release)
        assert address(3586, 55181, 500, run2d, release=release, full=full, base="B") == wanted
    tree = "spectro/sdss/redux" if release >= "dr18" else "sdss/spectro/redux"
    assert address(266, 51602, 1, "26", release=release, base="B") == (
        f"B/{release}/{tree}/26/spectra/lite/0266/spec-0266-51602-0001.fits"
    )


@pytest.mark.parametrize(
    ("release", "name", "path"),
    [  # as astroquery.sdss, sdss_access and valis have them
        ("dr18", (15170, 59292, 4570401475), "v6_0_4/spectra/{}/15170p/59292/spec-15170-59292-04570401475.fits"),
        ("dr19", (15000, 59146, 4375924756), "v6_1_3/spectra/{}/015000/59146/spec-015000-59146-4375924756.fits"),
        (
            "dr20",
            (15078, 59187, 4291570940),
            "v6_2_1/spectra/daily/{}/015XXX/015078/59187/spec-015078-59187-4291570940.fits",
        ),
    ],
)
def test_fields_of_each_release_have_their_folder(tmp_path, release, name, path):
    table = stars((266, 51602))
    for part in ("plate", "fiberid"):
        del table[part]
    table |= {part: np.array([value]) for part, value in zip(("field", "mjd", "catalogid"), name, strict=True)}
    labels = save(table, tmp_path / "t.fits", {})
    for full, kind in ((False, "lite"), (True, "full")):
        wanted = f"B/{release}/spectro/boss/redux/{path.format(kind)}"
        assert field_address(FieldName(*name), RELEASES[release].fields, release=release, full=full, base="B") == wanted
        summary = write_addresses(labels, f"{tmp_path}/l.txt", labels_config=SURE, release=release, full=full, base="B")
        assert lines(tmp_path / "l.txt") == [wanted]
        assert (summary.spectra, summary.plates) == (1, 1)
    by_name = one_row(spec_id="-".join(map(str, name)))
    by_name = {key: value for key, value in by_name.items() if key not in ("plate", "mjd", "fiberid")}
    write_addresses(save(by_name, tmp_path / "n.csv"), f"{tmp_path}/l.txt", labels_config=SURE, release=release)
    assert lines(tmp_path / "l.txt")[0].endswith(path.format("lite"))


def test_a_spectrum_that_a_release_cannot_have_is_refused(tmp_path):
    for release, facts in RELEASES.items():
        last = min(facts.last_mjd, RELEASES["dr17"].last_mjd)
        save(stars((3586, last)), tmp_path / "last.csv")
        write_addresses(f"{tmp_path}/last.csv", f"{tmp_path}/l.txt", labels_config=SURE, release=release)
        message = "belongs to SDSS-V" if facts.fields else f"3586-{last + 1}-1 was taken after the last date"
        save(stars((3586, last + 1)), tmp_path / "late.csv")
        with pytest.raises(LabelTableError, match=message):
            write_addresses(f"{tmp_path}/late.csv", f"{tmp_path}/m.txt", labels_config=SURE, release=release)
        field = {"fieldid": 15000, "mjd": facts.last_mjd + 1, "catalogid": 4375924756}
        path = save(one_row(**field, plate=0), tmp_path / "field.csv")
        message = "taken after the last date" if facts.fields else "choose dr18 or later"
        with pytest.raises(LabelTableError, match=message):
            write_addresses(path, f"{tmp_path}/m.txt", labels_config=SURE, release=release)
    assert not (tmp_path / "m.txt").exists()


def test_spectra_of_other_surveys_have_no_address(tmp_path):
    both = stars((266, 51602), (0, 0), obsid=[0, 101001])
    summary = write_addresses(save(both, tmp_path / "both.csv"), f"{tmp_path}/l.txt", labels_config=SURE)
    assert (summary.spectra, summary.elsewhere) == (1, 1)
    with pytest.raises(LabelTableError, match="names its rows by obsid; only spectra of the SDSS"):
        write_addresses(
            save(stars((0, 0), obsid=[101001]), tmp_path / "lamost.csv"), f"{tmp_path}/m.txt", labels_config=SURE
        )


def test_the_program_knows_all_releases():
    assert tuple(RELEASES) == fetch_list.RELEASES
    assert [facts.last_mjd for facts in RELEASES.values()] == sorted(facts.last_mjd for facts in RELEASES.values())


@pytest.mark.parametrize(
    ("plate", "mjd", "run2d"),
    [(266, 51602, "26"), (2942, 54521, "26"), (1960, 53289, "103"), (2912, 54499, "103"), (2640, 54806, "104"),
     (3306, 54922, "104"), (3480, 54999, "104"), (3510, 55181, "v5_7_0"), (10000, 57346, "v5_7_0")],
)  # fmt: skip
def test_run2d_follows_from_plate_and_date(plate, mjd, run2d):
    assert run2d_of_plate(plate, mjd) == run2d


def test_segue_2_begins_on_the_date_after_the_end_of_sdss_2():
    assert run2d_of_plate(2640, 54662) == "26"
    assert run2d_of_plate(2640, 54663) == "104"


@pytest.mark.realdata
def test_run2d_by_the_rules_is_that_in_the_headers_of_real_files(real_data):
    from raystellar.spectra import read_spectrum

    for folder in ("sdss_stars", "sdss_sky"):
        for path in sorted((real_data / folder).glob("spec-*.fits")):
            spectrum = read_spectrum(str(path))
            run2d = run2d_of_plate(spectrum.plate, spectrum.mjd)
            assert run2d == spectrum.run2d or (run2d[0] == spectrum.run2d[0] == "v"), path


@pytest.mark.parametrize("name", ["labels.fits", "labels.csv", "labels.parquet", "labels.csv.gz"])
@pytest.mark.parametrize("spelling", [SSPP, CAS, OWN])
def test_run2d_of_the_table_comes_before_the_rules(tmp_path, name, spelling):
    plates = [(266, 51602), (266, 51630), (3000, 54500), (4000, 55500)]
    table = stars(*plates, RUN2D=["103 ", "26", "104", "v5_7_2"])
    path = save(table, tmp_path / name.removesuffix(".gz"), spelling)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(places.read_bytes(path)))
        path = str(tmp_path / name)
    assert read_run2d(path) == dict(zip(plates, ["103", "26", "104", "v5_7_2"], strict=True))
    summary = write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE)
    assert (summary.from_table, summary.spectra, summary.plates) == (True, 4, 3)
    assert [line.split("/redux/")[1].split("/")[0] for line in lines(tmp_path / "paths.txt")] == [
        "103", "26", "104", "v5_7_2"
    ]  # fmt: skip
    write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE, release="dr17")
    assert "/dr17/eboss/spectro/redux/v5_13_2/spectra/lite/4000/" in lines(tmp_path / "paths.txt")[3]


@pytest.mark.parametrize("name", ["", "*.parquet", "**/*.parquet"])
def test_a_folder_or_glob_of_parquet_files_gives_the_addresses_of_all_of_them(tmp_path, name):
    """RUN2D is read from all files, too."""
    (tmp_path / "parts").mkdir()
    save(stars((266, 51602), run2d=["103"]), tmp_path / "parts" / "a.parquet")
    save(stars((267, 51608), run2d=["104"]), tmp_path / "parts" / "b.parquet")
    path = str(tmp_path / "parts" / name)
    assert read_run2d(path) == {(266, 51602): "103", (267, 51608): "104"}
    summary = write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE)
    assert (summary.spectra, summary.by_run2d, summary.from_table) == (2, {"103": 1, "104": 1}, True)
    assert [line.rsplit("/", 1)[1] for line in lines(tmp_path / "paths.txt")] == [
        "spec-0266-51602-0001.fits", "spec-0267-51608-0001.fits"
    ]  # fmt: skip


@pytest.mark.parametrize("run2d", [["103", None], [None, "103"]])
def test_one_file_of_a_folder_may_lack_run2d(tmp_path, run2d):
    for name, plate, version in zip("ab", (266, 267), run2d, strict=True):
        save(stars((plate, 51602), **({"run2d": [version]} if version else {})), tmp_path / f"{name}.parquet")
    assert list(read_run2d(str(tmp_path)).values()) == ["103"]


def test_the_rules_decide_where_the_table_has_no_run2d(tmp_path):
    assert read_run2d(save(stars((266, 51602)), tmp_path / "none.csv")) == {}
    path = save(stars((266, 51602), (2640, 54806), run2d=["", "26"]), tmp_path / "some.csv")
    write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE)
    assert ["/redux/26/" in line for line in lines(tmp_path / "paths.txt")] == [True, True]
    summary = write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE, run2d="v5_9_0")
    assert (summary.by_run2d, summary.from_table) == ({"v5_9_0": 2}, False)


def test_the_first_row_of_a_plate_that_has_run2d_counts(tmp_path, monkeypatch):
    plates = [(266, 51602)] * 3 + [(267, 51608)]
    path = save(stars(*plates, run2d=["  ", "103", "104", "26"]), tmp_path / "t.fits")
    expected = {(266, 51602): "103", (267, 51608): "26"}
    assert read_run2d(path) == expected
    monkeypatch.setattr("raystellar.labels.cells.PIECE", 1)
    assert read_run2d(path) == expected


@pytest.mark.parametrize("suffix", ["fits", "csv", "parquet"])
def test_run2d_may_be_a_number_of_any_type(tmp_path, suffix):
    for kind in ("i2", "u4", "i8", "f8"):
        path = save(stars((266, 51602), run2d=np.array([26], kind)), tmp_path / f"t.{suffix}", {})
        assert read_run2d(path) == {(266, 51602): "26"}, kind


def test_run2d_is_read_from_skyserver_tables_with_a_line_above_the_names(tmp_path):
    body = "266,51602,1,26\nnull,51602,1,26\n1960,53289,2,103\n"
    (tmp_path / "t.csv").write_text(f"#Table1\nplate,mjd,fiberID,run2d\n{body}")
    assert read_run2d(f"{tmp_path}/t.csv") == {(266, 51602): "26", (1960, 53289): "103"}


def test_each_usable_row_is_listed_once_sorted_by_plate(tmp_path):
    path = save(rows(500), tmp_path / "labels.fits", SSPP)
    table = read_labels(path, LabelsConfig())
    summary = write_addresses(path, f"{tmp_path}/paths.txt")
    addresses = lines(tmp_path / "paths.txt")
    assert summary.spectra == len(addresses) == len(set(addresses)) == table.usable.sum()
    plates = [line.rsplit("/", 2)[1] for line in addresses]
    assert plates == sorted(plates)
    assert write_addresses(path, f"{tmp_path}/paths.txt", every=True).spectra == len(table) > summary.spectra


def test_a_list_that_cannot_be_made_is_refused_and_leaves_no_file(tmp_path):
    path = save(stars((266, 51602), teff=[3000.0]), tmp_path / "labels.csv")
    with pytest.raises(LabelTableError, match="no usable row: teff out of range"):
        write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE)
    with pytest.raises(ConfigError, match=r"known are dr12, .*dr20"):
        write_addresses(path, f"{tmp_path}/paths.txt", release="dr99")
    with pytest.raises(OutputError):
        write_addresses(
            save(stars((266, 51602)), tmp_path / "good.csv"), f"{tmp_path}/no/paths.txt", labels_config=SURE
        )
    assert sorted(os.listdir(tmp_path)) == ["good.csv", "labels.csv"]


@pytest.mark.realdata
def test_run2d_of_the_real_table_is_read(real_data):
    assert set(read_run2d(str(real_data / "sspp" / "small_ssppOut-dr9.fits")).items()) == {((266, 51602), "26")}


def test_run2d_is_read_from_unsigned_columns_and_many_pieces_of_fits(tmp_path):
    n = 300_000
    plate = np.arange(n, dtype="u2") % 60_000 + 1
    table = {"plate": plate, "mjd": np.full(n, 51602, "u4"), "run2d": np.full(n, 26, "i2")}
    run2d = read_run2d(save(table, tmp_path / "t.fits", {}))
    assert len(run2d) == 60_000
    assert run2d[60_000, 51602] == "26"


def test_the_list_expands_to_its_addresses(tmp_path):
    """The list may name files on the web or on a mirror on disk."""
    path = save(stars((266, 51602), (266, 51630)), tmp_path / "labels.csv")
    write_addresses(path, f"{tmp_path}/paths.txt", labels_config=SURE)
    assert [path for path, _ in listing.expand([f"@{tmp_path}/paths.txt"])] == lines(tmp_path / "paths.txt")
    write_addresses(path, f"{tmp_path}/local.txt", labels_config=SURE, base=f"{tmp_path}/sas")
    for line in lines(tmp_path / "local.txt"):
        os.makedirs(os.path.dirname(line), exist_ok=True)
        open(line, "wb").close()
    assert [path for path, _ in listing.expand([f"{tmp_path}/local.txt"])] == lines(tmp_path / "local.txt")
