"""The number of threads of torch."""

import pytest
import torch

from raystellar.model.threads import threads


def test_the_number_of_threads_is_set_within_the_context_only():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_an_error_restores_the_number_of_threads():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
