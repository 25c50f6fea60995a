import pytest

from raystellar.cli import main


def test_the_demo_ends_with_a_table_and_a_picture(tmp_path, capsys):
    words = ["demo", "--out", str(tmp_path), "--stars", "40", "--local"]
    small = [
        "simulate.stars_per_plate=10",
        "fit.epochs=2",
        "fit.least_steps=0",
        "splits.train=0.7",
        "splits.validation=0.3",
        "splits.test=0",
    ]
    assert main([*words, *(word for setting in small for word in ("--set", setting))]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(("teff", "feh", "logg"))}
    assert {name: row[-1] for name, row in rows.items()} == {"teff": "K", "feh": "dex", "logg": "dex"}
    for row in rows.values():
        network, ridge, ratio = map(float, row[1:4])
        assert network > 0
        assert abs(network / ridge - ratio) < 0.011
    assert (tmp_path / "predicted-against-true.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "settings", [("simulate.stars_per_plate=40",), ("simulate.stars_per_plate=10", "simulate.labelled_fraction=1")]
)
def test_a_demo_without_a_plate_to_hold_out_is_refused_before_it_begins(settings, tmp_path, capsys):
    words = ["demo", "--out", str(tmp_path / "demo"), "--stars", "40", "--local"]
    assert main([*words, *(word for setting in settings for word in ("--set", setting))]) == 1
    [error] = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("raystellar demo: no stars are held out")
    assert all(setting.replace("=", " = ") in error for setting in settings)
    assert not (tmp_path / "demo").exists()
