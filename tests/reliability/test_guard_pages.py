"""Checks 1 and 2: random cases between guard pages, and mistakes that they must catch."""

from __future__ import annotations

import sys

import pytest
from cases import CaseError, run_cases

from fastbp._jit import DISABLED

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect through libc"),
    pytest.mark.skipif(DISABLED, reason="plain Python is too slow for thousands of cases"),
]


def test_matrix_products_between_guard_pages():
    assert run_cases("fuzz_gemm", 0, 2000) > 1_000_000


def test_operations_between_guard_pages():
    assert run_cases("fuzz_operations", 0, 1500) > 500_000


def test_networks_between_guard_pages():
    assert run_cases("fuzz_networks", 0, 150) > 100_000


@pytest.mark.nightly
def test_many_matrix_products_between_guard_pages():
    assert run_cases("fuzz_gemm", 1_000_000, 100_000, timeout=3600) > 50_000_000


@pytest.mark.nightly
def test_many_operations_between_guard_pages():
    assert run_cases("fuzz_operations", 1_000_000, 30_000, timeout=3600) > 10_000_000


@pytest.mark.nightly
def test_many_networks_between_guard_pages():
    assert run_cases("fuzz_networks", 1_000_000, 4_000, timeout=3600) > 2_000_000


@pytest.mark.parametrize("plant", ["read +1", "read -1", "write +1", "write -1", "write-to-input"])
def test_one_element_beside_the_data_is_a_signal(plant):
    with pytest.raises(CaseError, match=r"(?s)case \d+: SIG(SEGV|BUS).*fuzz_gemm.py \d+"):
        run_cases("fuzz_gemm", 0, 50, PLANT=plant)


def test_a_dropped_last_term_is_seen():
    with pytest.raises(CaseError, match=r"(?s)case \d+: exit 1.*AssertionError"):
        run_cases("fuzz_gemm", 0, 50, PLANT="drop-last-k")
