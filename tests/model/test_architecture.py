"""The shape of the network as configuration."""

import subprocess
import sys

import pytest

from raystellar.config import build
from raystellar.errors import ConfigError
from raystellar.model.architecture import NetworkConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stem": 0}, "stem"),
        ({"blocks": []}, "blocks"),
        ({"blocks": [64, 10_000]}, "8192"),
        ({"head_feh": [-1]}, "head_feh"),
        ({"trunk_dropout": 1.0}, "trunk_dropout"),
        ({"dropout_logg": -0.1}, "dropout_logg"),
        ({"head_tefff": [16]}, "did you mean head_teff"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(values, message):
    with pytest.raises(ConfigError, match=message):
        build(NetworkConfig, values, "network")


def test_lists_in_toml_become_widths():
    config = build(NetworkConfig, {"blocks": [64, 32], "head_teff": []}, "network")
    assert config.blocks == (64, 32)
    assert config.head("teff") == ((), 0.0)


def test_configuration_loads_no_torch():
    modules = "raystellar.model.architecture, raystellar.model.bundle, raystellar.fit.config, raystellar.stages.train"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
