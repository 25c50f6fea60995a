"""The shape of the network, without torch. Source: Sec. 4 and 6."""

from __future__ import annotations

from dataclasses import dataclass

from raystellar.schema import N_PIXELS
from raystellar.targets import TARGET_NAMES

MAX_WIDTH = 8192
"""Largest width of a layer; a larger number is taken for a typing error."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths and dropouts of the residual multitask network; the defaults are the paper's selection without dropout."""

    n_pixels: int = N_PIXELS
    """Pixels of the input spectrum."""

    stem: int = 128
    """Units of the stem. Source: Sec. 6."""

    stem_dropout: float = 0.0
    """Dropout rate after the stem. Source: Sec. 6."""

    blocks: tuple[int, ...] = (64,)
    """Units of each residual block in the trunk. Source: Sec. 6."""

    trunk_dropout: float = 0.0
    """Dropout rate at the end of every block. 0.4 in the paper, whose copies of spectra do not change."""

    head_teff: tuple[int, ...] = (48, 32)
    """Hidden units of the head for the effective temperature. Source: Sec. 6."""

    head_feh: tuple[int, ...] = (16,)
    """Hidden units of the head for the metallicity. Source: Sec. 6."""

    head_logg: tuple[int, ...] = (48,)
    """Hidden units of the head for the surface gravity. Source: Sec. 6."""

    dropout_teff: float = 0.0
    """Dropout rate after each hidden layer of the head for the effective temperature."""

    dropout_feh: float = 0.0
    """Dropout rate after each hidden layer of the head for the metallicity."""

    dropout_logg: float = 0.0
    """Dropout rate after each hidden layer of the head for the surface gravity."""

    skip: bool = True
    """Whether residual blocks have their shortcut; False is an ablation."""

    layer_norm: bool = True
    """Whether layers are normalised; False is an ablation."""

    multitask: bool = True
    """Whether the three heads share stem and trunk; False is an ablation with one network per target."""

    def __post_init__(self) -> None:
        widths = {"n_pixels": (self.n_pixels,), "stem": (self.stem,), "blocks": self.blocks}
        widths |= {f"head_{name}": self.head(name)[0] for name in TARGET_NAMES}
        for field, values in widths.items():
            if not all(1 <= value <= MAX_WIDTH for value in values):
                raise ValueError(f"{field} = {values} must hold widths from 1 to {MAX_WIDTH}")
        if not self.blocks:
            raise ValueError("blocks = () must hold at least one width")
        rates = {"stem_dropout": self.stem_dropout, "trunk_dropout": self.trunk_dropout}
        rates |= {f"dropout_{name}": self.head(name)[1] for name in TARGET_NAMES}
        for field, rate in rates.items():
            if not 0.0 <= rate < 1.0:
                raise ValueError(f"{field} = {rate} must lie in [0, 1)")

    def head(self, name: str) -> tuple[tuple[int, ...], float]:
        """Return the hidden widths and the dropout rate of the head for the target ``name``."""
        return getattr(self, f"head_{name}"), getattr(self, f"dropout_{name}")
