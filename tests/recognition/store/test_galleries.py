"""The opener: an address says which store it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.search import MaskedSearch
from facerec.recognition.store.galleries import open_gallery, search_of
from facerec.recognition.store.sqlite import Gallery

ROOT = Path(__file__).parents[3]


def test_opening_and_searching_a_file_imports_nothing_of_milvus(tmp_path: Path, pretend: ModuleType) -> None:
    Gallery.create(tmp_path / "g", pretend.PretendContract()).close()
    script = (
        "import sys\n"
        "from facerec.recognition.store.galleries import open_gallery, search_of\n"
        "with open_gallery(sys.argv[1], write=True) as gallery:\n"
        "    search_of(gallery)\n"
        "print([name for name in sys.modules if 'milvus' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "g")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_file_is_made_when_asked_for_and_searched_exactly(tmp_path: Path, pretend: ModuleType) -> None:
    with pytest.raises(InvalidInputError, match="there is no"):
        open_gallery(tmp_path / "g")
    with open_gallery(tmp_path / "g", pretend.PretendContract(), create=True) as made:
        assert made.info().entries == 0
    with open_gallery(str(tmp_path / "g")) as gallery:
        assert isinstance(search_of(gallery), MaskedSearch)


def test_only_the_opener_asks_which_store_a_gallery_is() -> None:
    askers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("recognition", "evaluation", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"isinstance\([^)]*\b(Milvus)?Gallery\b", path.read_text("utf-8"))
    ]
    assert askers == ["recognition/store/galleries.py"]
