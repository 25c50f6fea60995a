"""Commands: each offers what it obeys, and nothing else."""

import argparse
import json
from dataclasses import fields

import pytest

from raystellar.cli import main
from raystellar.cli.commands.bench import BENCHES
from raystellar.cli.parser import COMMANDS
from raystellar.cli.settings import Settings


def options_of(command):
    """Return the names of the options of a command."""
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    return set(parser._subparsers._group_actions[0].choices[command.name]._option_string_actions)


@pytest.mark.parametrize("command", [*COMMANDS, *BENCHES], ids=lambda command: command.name)
def test_a_command_offers_settings_and_places_only_where_it_reads_them(command):
    offered = options_of(command)
    assert ("--set" in offered) == bool(command.sections)
    assert {f"--{name}" for name in ("local", "address", "actors")} & offered == {f"--{name}" for name in command.where}
    assert {"-v", "-q", "--log-file"} <= offered
    assert set(command.sections) <= {field.name for field in fields(Settings)}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_can_be_parsed(command):
    from raystellar.cli.parser import parser

    assert command.examples
    for line in command.examples:
        program, *words = line.replace("'", "").split()
        assert program == "raystellar"
        assert parser().parse_args(words).action is command


def test_shown_settings_are_those_that_the_command_reads(capsys):
    assert main(["label", "x", "--model", "m", "--out", "c", "--set", "quality.min_sn=20", "--show-settings"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"labels", "quality", "fetch", "resources"}
    assert shown["quality"]["min_sn"] == 20


def test_a_setting_that_the_command_does_not_read_is_refused(capsys):
    assert main(["label", "x", "--model", "m", "--out", "c", "--set", "fit.seed=3"]) == 1
    assert capsys.readouterr().err == (
        "raystellar label: label does not read the settings [fit]; it reads [labels], [quality], [fetch], [resources]\n"
    )


def test_training_here_and_on_ray_at_once_is_refused(capsys):
    words = ["train", "d", "--out", "m", "--local", "--show-settings"]
    assert main([*words, "--set", "training.workers=2"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["workers"] == 0
    assert main([*words, "--workers", "2"]) == 1
    assert capsys.readouterr().err == (
        "raystellar train: --local trains in this process and --workers 2 on Ray; give one of them\n"
    )


def test_a_file_of_settings_may_hold_sections_of_other_commands(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text("[fit]\nepochs = 7\n[quality]\nmin_sn = 20\n")
    words = ["label", "x", "--model", "m", "--out", "c", "--config", str(path), "--show-settings"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["quality"]["min_sn"] == 20


def test_quiet_leaves_nothing_but_the_exit_code(tmp_path, capsys):
    words = ["simulate", str(tmp_path / "survey"), "--stars", "1", "--local", "--set", "simulate.stars_per_plate=1"]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*words, "--log-file", str(tmp_path / "run.log")]) == 0
    assert "1 plates existed already" in capsys.readouterr().out
    assert "1 plates existed already" in (tmp_path / "run.log").read_text()


def test_a_cluster_without_workers_is_refused_by_train(capsys):
    assert main(["train", "dataset", "--out", "model", "--address", "127.0.0.1:6379"]) == 1
    error = capsys.readouterr().err
    assert "--address 127.0.0.1:6379 names a cluster and no workers train there; add --workers N" in error
