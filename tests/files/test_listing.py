import os

import pytest

from raystellar.errors import InputError
from raystellar.files import listing, places


@pytest.fixture
def tree(tmp_path):
    for name in ("b/spec-2.fits", "a/spec-1.fits", "a/spec-3.FITS.GZ", "a/notes.md", "a/.hidden.fits", "old.fit"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path


def names(inputs, root):
    return [os.path.relpath(path, root) for path, _ in listing.expand(map(str, inputs))]


def test_folders_are_searched_to_the_bottom_in_order(tree):
    assert names([tree], tree) == ["a/spec-1.fits", "a/spec-3.FITS.GZ", "b/spec-2.fits", "old.fit"]
    assert dict(listing.expand([str(tree)]))[str(tree / "old.fit")] == len("old.fit")


def test_globs_lists_and_files(tree):
    assert names([tree / "*" / "*.fits"], tree) == ["a/spec-1.fits", "b/spec-2.fits"]
    assert names([tree / "a" / "notes.md"], tree) == ["a/notes.md"]
    (tree / "list.txt").write_text(f"# comment\n\na/spec-1.fits\n{tree}/b\n")
    assert names([tree / "list.txt"], tree) == ["a/spec-1.fits", "b/spec-2.fits"]
    assert names([f"@{tree}/list.txt"], tree) == ["a/spec-1.fits", "b/spec-2.fits"]


def test_a_loop_of_links_ends(tree):
    (tree / "a" / "loop").symlink_to(tree)
    assert "a/spec-1.fits" in names([tree], tree)
    assert len(names([tree], tree)) == 4


@pytest.mark.parametrize("absent", ["absent", "absent.fits", "no*thing", "@absent.txt", "absent.txt"])
def test_absent_inputs_are_refused_in_one_sentence(tree, absent):
    path = f"@{tree}/absent.txt" if absent.startswith("@") else str(tree / absent)
    with pytest.raises(InputError, match=r"absent|no\*thing") as error:
        list(listing.expand([path]))
    assert "\n" not in str(error.value)


@pytest.fixture
def bucket():
    folder = "memory://survey"
    for name in ("26/0266/spec-1.fits", "26/0267/spec-2.fits", "26/0267/spZbest-2.fits", "103/1960/spec-3.fits.gz",
                 "103/1960/notes.md", "103/.old/spec-4.fits"):  # fmt: skip
        places.write_bytes(f"{folder}/{name}", name.encode())
    yield folder
    places.filesystem(folder)[0].rm("/survey", recursive=True)


def below(bucket, *inputs):
    files = listing.expand(f"{bucket}{path}" for path in inputs)
    return [path.removeprefix("memory:///survey/") for path, _ in files]


def test_folders_on_servers_are_searched_to_the_bottom(bucket):
    everything = ["103/1960/spec-3.fits.gz", "26/0266/spec-1.fits", "26/0267/spec-2.fits"]
    assert sorted(below(bucket, "")) == sorted(below(bucket, "/")) == everything
    assert below(bucket, "/26/0267") == ["26/0267/spec-2.fits"]
    assert dict(listing.expand([bucket]))["memory:///survey/26/0266/spec-1.fits"] == len("26/0266/spec-1.fits")


def test_globs_on_servers_match_files_and_folders(bucket):
    assert sorted(below(bucket, "/*/*/spec-[12].fits")) == ["26/0266/spec-1.fits", "26/0267/spec-2.fits"]
    assert sorted(below(bucket, "/26/02*")) == ["26/0266/spec-1.fits", "26/0267/spec-2.fits"]
    assert below(bucket, "/**/notes.md") == ["103/1960/notes.md"]


@pytest.mark.parametrize("absent", ["/absent", "/absent.fits", "/26/no*thing"])
def test_absent_inputs_on_a_server_are_refused_in_one_sentence(bucket, absent):
    with pytest.raises(InputError, match="survey") as error:
        below(bucket, absent)
    assert "\n" not in str(error.value)


def test_remote_files_in_a_list_are_not_looked_up(bucket, tmp_path):
    (tmp_path / "paths.txt").write_text(f"{bucket}/absent.fits\nhttp://127.0.0.1:9/a.fits?token=1\n{bucket}/103\n")
    assert list(listing.expand([f"@{tmp_path}/paths.txt"])) == [
        (f"{bucket}/absent.fits", 0),
        ("http://127.0.0.1:9/a.fits?token=1", 0),
        ("memory:///survey/103/1960/spec-3.fits.gz", len("103/1960/spec-3.fits.gz")),
    ]


@pytest.mark.parametrize("folder", ["https://a.org", "https://a.org/sas/dr12/0266/", "http://a.b/*.fits"])
def test_a_folder_of_a_web_server_is_refused(folder):
    with pytest.raises(InputError, match=r"@paths\.txt"):
        list(listing.expand([folder]))


def test_a_long_listing_of_s3_comes_page_by_page(s3, monkeypatch):
    remote, bucket = places.filesystem(s3)
    for n in range(25):
        remote.pipe_file(f"{bucket}/lite/{n // 10:04d}/spec-{n:02d}.fits", b"x" * n)
    pages, call = [], type(remote).call_s3

    def small_pages(self, method, **wanted):
        pages.append(method)
        return call(self, method, MaxKeys=10, **wanted)

    monkeypatch.setattr(type(remote), "call_s3", small_pages)
    files = listing.expand([f"{s3}/lite"])
    assert next(files) == (f"{s3}/lite/0000/spec-00.fits", 0)
    assert pages == ["list_objects_v2"]  # the others are not asked for before they are needed
    assert len(list(files)) == 24
    assert len(pages) == 3
    assert [size for _, size in listing.expand([f"{s3}/lite/*/spec-*2.fits"])] == [2, 12, 22]
    assert next(listing.expand([f"{s3}/lite/0000/spec-03.fits"])) == (f"{s3}/lite/0000/spec-03.fits", 3)
    with pytest.raises(InputError, match="no spectra at"):
        list(listing.expand([f"{s3}/none"]))
    with pytest.raises(InputError, match="cannot be listed"):
        list(listing.expand(["s3://no-such-bucket/lite"]))


def test_companions_of_spectra_in_folders_are_skipped_and_packed_spectra_are_not(tmp_path):
    spectra = ["coadd-main-dark-10016.fits", "mwmStar-0.6.0-1.fits", "spPlate-0266-51602.fits.gz", "spec-1.fit.bz2",
               "spec-1.fits.BZ2", "spectra-1.fits", "spectra.fits"]  # fmt: skip
    others = [
        "spZbest-0266-51602.fits",
        "spAll-v5_13_2.fits",
        "spAllLine-v6_1_3.fits.gz",
        "redrock-main-dark-10016.fits",
        "emline-main-dark-10016.fits",
        "spectra-main-dark-10016.fits.gz",
        "spectra-5-169-thru20210419.fits",
        "_part.fits",
        "spec-1.png",
        "checksums.sha256sum",
    ]
    for name in spectra + others:
        (tmp_path / name).write_bytes(b"x")
    assert names([tmp_path], tmp_path) == sorted(spectra)
    assert names([tmp_path / others[0]], tmp_path) == others[:1]  # a file that is named is taken
