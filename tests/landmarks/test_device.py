"""How threads share the cores."""

from __future__ import annotations

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from facerec.landmarks.device import one_blas_thread


def blas_threads() -> set[int]:
    """Thread counts of the BLAS libraries whose pool the whole process shares; those on OpenMP have one per thread."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {int(pool["num_threads"]) for pool in blas if pool.get("threading_layer") != "openmp"}


@pytest.fixture
def two_blas_threads() -> object:
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("expected a BLAS that takes two threads")
        yield None


@pytest.mark.usefixtures("two_blas_threads")
def test_the_limit_holds_until_the_last_of_several_threads_is_done() -> None:
    first_in, second_out = threading.Event(), threading.Event()

    def outlasting() -> None:
        with one_blas_thread():
            first_in.set()
            second_out.wait(10)
            seen.append(blas_threads())

    seen: list[set[int]] = []
    other = threading.Thread(target=outlasting)
    other.start()
    first_in.wait(10)
    with one_blas_thread(), one_blas_thread():
        assert blas_threads() == {1}
    second_out.set()
    other.join()
    assert seen == [{1}]
    assert blas_threads() == {2}
