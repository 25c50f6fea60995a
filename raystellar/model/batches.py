"""Rows of arrays as tensors of one size, on the device of a network.

A matrix product of another shape sums in another order. So every batch is filled up to one size, and a row's result
is the same to the last bit whatever rows come with it. On a GPU the next batch is copied while this one is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

CPU_BATCH = 256
"""Rows: 4 MB of spectra; twice as many are a quarter faster, and half as much waste in a small job."""

GPU_BATCH = 4096
"""Rows: 65 MB of spectra, enough to fill a GPU with a small network."""


def batch_size(device: torch.device | str) -> int:
    """Return the rows of a batch on ``device``."""
    return CPU_BATCH if torch.device(device).type == "cpu" else GPU_BATCH


def batches(arrays: Sequence[np.ndarray], device: torch.device | str) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield the first row of each batch, and its rows of each array, on ``device``.

    The tensors are used again: they hold until the next is asked for. What fills up the last batch is of rows before,
    or zero.

    Parameters
    ----------
    arrays : (n, ...) float32 each
    """
    device = torch.device(device)
    size = batch_size(device)
    yield from (_batches if device.type == "cpu" else _batches_ahead)(arrays, device, size)


def _batches(arrays: Sequence[np.ndarray], device: torch.device, size: int) -> Iterator[tuple[int, list[Tensor]]]:
    tensors = [torch.zeros(size, *array.shape[1:]) for array in arrays]
    for start in range(0, len(arrays[0]), size):
        _fill(tensors, arrays, start)
        yield start, tensors


def _batches_ahead(arrays: Sequence[np.ndarray], device: torch.device, size: int) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield batches on a GPU, two sets of buffers taking turns; nothing waits but for what it needs."""
    here = [[torch.zeros(size, *array.shape[1:], pin_memory=True) for array in arrays] for _ in range(2)]
    there = [[tensor.to(device) for tensor in tensors] for tensors in here]
    copied, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
    compute, copy = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    copy.wait_stream(compute)  # which has zeros to write to the buffers

    def send(number: int) -> None:
        turn = number % 2
        copied[turn].synchronize()  # what was in the buffer here has gone
        _fill(here[turn], arrays, number * size)
        copy.wait_event(used[turn])
        with torch.cuda.stream(copy):
            for source, target in zip(here[turn], there[turn], strict=True):
                target.copy_(source, non_blocking=True)
        copied[turn].record(copy)

    count = -(-len(arrays[0]) // size)
    if count:
        send(0)
    for number in range(count):
        if number + 1 < count:
            send(number + 1)
        turn = number % 2
        compute.wait_event(copied[turn])
        yield number * size, there[turn]
        used[turn].record(compute)


def _fill(tensors: Sequence[Tensor], arrays: Sequence[np.ndarray], start: int) -> None:
    """Write the rows from ``start`` on to the tensors in this machine's memory."""
    for tensor, array in zip(tensors, arrays, strict=True):
        rows = array[start : start + len(tensor)]
        tensor.numpy()[: len(rows)] = rows
