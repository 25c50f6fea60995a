"""Rows as batches of one size."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from raystellar.model import batches as module
from raystellar.model.batches import _batches_ahead, batches


class Clock:
    """What CUDA's streams and events promise, written down; nothing runs beside anything else here."""

    def __init__(self):
        self.told = []

    def event(self):
        clock = self

        class Event:
            def synchronize(self):
                clock.told.append("synchronize")

            def record(self, stream):
                clock.told.append(f"{stream} record")

        return Event()

    def stream(self, name):
        clock = self

        class Stream:
            def wait_event(self, event):
                clock.told.append(f"{name} wait")

            def wait_stream(self, other):
                clock.told.append(f"{name} wait for {other}")

            def __repr__(self):
                return name

        return Stream()


@pytest.fixture
def clock(monkeypatch):
    clock, empty = Clock(), torch.zeros
    monkeypatch.setattr("torch.cuda.Event", clock.event)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: clock.stream("compute"))
    monkeypatch.setattr("torch.cuda.Stream", lambda device: clock.stream("copy"))
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext())
    monkeypatch.setattr(module.torch, "zeros", lambda *shape, pin_memory=False: empty(*shape))
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: tensor.clone())
    return clock


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 8, 9, 15])
def test_every_row_once_and_in_order(rows, clock):
    flux, noise = np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2), np.arange(rows, dtype=np.float32)[:, None]
    found = [], []
    for start, tensors in _batches_ahead([flux, noise], torch.device("cpu"), 4):
        assert all(len(tensor) == 4 for tensor in tensors)
        for out, tensor in zip(found, tensors, strict=True):
            out.append(tensor[: rows - start].numpy().copy())
    for out, given in zip(found, (flux, noise), strict=True):
        np.testing.assert_array_equal(np.concatenate([given[:0], *out]), given)


def test_the_next_is_copied_before_this_is_computed(clock):
    """And a buffer is written to only when its last use is over."""
    for _ in _batches_ahead([np.zeros((12, 1), np.float32)], torch.device("cpu"), 4):
        clock.told.append("compute")
    send = ["synchronize", "copy wait", "copy record"]
    turn = ["compute wait", "compute", "compute record"]
    assert clock.told == ["copy wait for compute", *send, *send, *turn, *send, *turn, *turn]


def test_batches_here_have_one_size():
    flux = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)
    taken = [(start, tensors[0].clone()) for start, tensors in batches([flux], "cpu")]
    assert [(start, len(batch)) for start, batch in taken] == [(0, 256), (256, 256), (512, 256)]
    np.testing.assert_array_equal(torch.cat([batch for _, batch in taken])[:600].numpy(), flux)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_rows():
    flux = np.random.default_rng(0).standard_normal((10_000, 40)).astype(np.float32)
    taken = [tensors[0] @ torch.eye(40, device="cuda") for _, tensors in batches([flux], "cuda")]
    np.testing.assert_array_equal(torch.cat(taken)[:10_000].cpu().numpy(), flux)
