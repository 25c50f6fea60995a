"""Rows of arrays as batches of one size."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from raystellar.model import batches as module
from raystellar.model.batches import _batches_ahead, batches


class Clock:
    """Stand-ins for CUDA's streams and events, which write down every call; nothing runs in parallel."""

    def __init__(self):
        self.calls = []

    def event(self):
        clock = self

        class Event:
            def synchronize(self):
                clock.calls.append("synchronize")

            def record(self, stream):
                clock.calls.append(f"{stream} record")

        return Event()

    def stream(self, name):
        clock = self

        class Stream:
            def wait_event(self, event):
                clock.calls.append(f"{name} wait")

            def wait_stream(self, other):
                clock.calls.append(f"{name} wait for {other}")

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
def test_a_gpu_gets_every_row_once_and_in_order(rows, clock):
    flux, noise = np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2), np.arange(rows, dtype=np.float32)[:, None]
    parts = [], []
    for start, tensors in _batches_ahead([flux, noise], torch.device("cpu"), 4):
        assert all(len(tensor) == 4 for tensor in tensors)
        for out, tensor in zip(parts, tensors, strict=True):
            out.append(tensor[: rows - start].numpy().copy())
    for out, array in zip(parts, (flux, noise), strict=True):
        np.testing.assert_array_equal(np.concatenate([array[:0], *out]), array)


def test_a_batch_is_copied_before_the_one_ahead_of_it_is_computed(clock):
    """A buffer is written to only when its last use is over."""
    for _ in _batches_ahead([np.zeros((12, 1), np.float32)], torch.device("cpu"), 4):
        clock.calls.append("compute")
    send = ["synchronize", "copy wait", "copy record"]
    turn = ["compute wait", "compute", "compute record"]
    assert clock.calls == ["copy wait for compute", *send, *send, *turn, *send, *turn, *turn]


def test_batches_on_a_cpu_have_one_size():
    flux = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)
    taken = [(start, tensors[0].clone()) for start, tensors in batches([flux], "cpu")]
    assert [(start, len(batch)) for start, batch in taken] == [(0, 256), (256, 256), (512, 256)]
    np.testing.assert_array_equal(torch.cat([batch for _, batch in taken])[:600].numpy(), flux)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_rows_on_a_gpu_are_those_of_the_array():
    flux = np.random.default_rng(0).standard_normal((10_000, 40)).astype(np.float32)
    taken = [tensors[0] @ torch.eye(40, device="cuda") for _, tensors in batches([flux], "cuda")]
    np.testing.assert_array_equal(torch.cat(taken)[:10_000].cpu().numpy(), flux)
