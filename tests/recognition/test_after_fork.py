"""A recognizer that was used before a fork answers in the children, as pools of workers and gunicorn need it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_recognizer_answers_in_the_workers_of_a_pool() -> None:
    """In a process of its own with several threads: with one there is no pool of threads that a fork could lose."""
    program = textwrap.dedent(
        """
        import multiprocessing
        import torch
        import facerec
        from facerec.cli.portraits import installed_portraits

        torch.set_num_threads(2)
        photo = next(iter(installed_portraits().values()))[::2, ::2].copy()
        recognizer = facerec.Recognizer.load()

        def scores(number):
            (face,) = recognizer.describe(photo)
            return face.signature.score(mine.signature)[0]

        (mine,) = recognizer.describe(photo)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for score in pool.map_async(scores, range(2)).get(90):
                assert score > 0.999, score
        print("answered")
        """
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, env=environment, check=False
    )
    assert done.stdout == "answered\n", done.stderr[-2000:]
