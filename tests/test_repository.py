"""What holds for the repository as a whole: the layers, what is shipped, what must not be in it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("landmarks", "frontalize", "recognition", "evaluation", "cli")
WEIGHT_ENDINGS = (".npz", ".safetensors")


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def from_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return "facerec." + from_root(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(source: str) -> set[str]:
    """Absolute names of what `source` imports, at the top and inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def against_the_stream(layer: str, source: str) -> set[str]:
    later = LAYERS[LAYERS.index(layer) + 1 :]
    return {name for name in imported(source) if name.startswith(tuple(f"facerec.{other}" for other in later))}


@pytest.mark.parametrize("layer", LAYERS)
def test_dependencies_point_one_way(layer: str) -> None:
    assert sources(layer), f"no sources in {layer}"
    wrong = {str(path.relative_to(ROOT)): against_the_stream(layer, path.read_text("utf-8")) for path in sources(layer)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_an_import_against_the_stream_would_be_seen() -> None:
    assert against_the_stream("landmarks", "def f():\n    from facerec.frontalize import fit\n")
    assert against_the_stream("frontalize", "from facerec import recognition")
    assert not against_the_stream("frontalize", "import facerec.landmarks.types")


# Who may import a `training` package, and why. Benchmarks and tests are not shipped and may import anything.
MAY_TRAIN = (
    ("*/training/*.py", "trainers build on each other's packs, losses and rules"),
    ("cli/train_*.py", "the commands that start a training"),
)


def training_imports(path: str, source: str) -> set[str]:
    """What the file at `path`, relative to the root, imports from a training package without being allowed to."""
    if any(PurePath(path).match(pattern) for pattern, _ in MAY_TRAIN):
        return set()
    return {name for name in imported(source) if name.startswith("facerec.") and "training" in name.split(".")}


def test_nothing_that_a_photograph_meets_imports_training() -> None:
    files = [path for layer in LAYERS for path in sources(layer)]
    wrong = {name: training_imports(name, (ROOT / name).read_text("utf-8")) for name in map(from_root, files)}
    assert {path: names for path, names in wrong.items() if names} == {}
    for pattern, reason in MAY_TRAIN:
        assert any(PurePath(from_root(path)).match(pattern) for path in files), f"{pattern}: {reason}"


@pytest.mark.parametrize(
    "source",
    [
        "from facerec.landmarks.training.packs import LandmarkPack",
        "def f():\n    from facerec.landmarks import training",
        "import facerec.recognition.training.resnet",
        "if TYPE_CHECKING:\n    from facerec.frontalize.training import pose_augment",
    ],
)
def test_an_import_of_training_would_be_seen(source: str) -> None:
    for path in ("recognition/recognizer.py", "cli/demo.py", "evaluation/protocols/aflw.py", "cli/train.py"):
        assert training_imports(path, source), path
    for path in ("recognition/training/view_set.py", "cli/train_godp.py"):
        assert not training_imports(path, source), path
    for harmless in ("from facerec.cli.train import command", "import facerec.landmarks.training_log"):
        assert not training_imports("cli/main.py", harmless)


def test_the_tests_are_typed_and_their_types_are_checked() -> None:
    assert re.search(r"mypy.* tests$", (ROOT / "scripts/test").read_text("utf-8"), re.M)
    untyped = [
        f"{from_root(path)}: {one.name}"
        for path in sources("tests")
        for one in functions(path.read_text("utf-8"))
        if one.returns is None
    ]
    assert untyped == []


MOST_LINES = {"module": 500, "function": 80}
MOST_PARAMETERS = 7
# What may be longer or take more, and why.
LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "save_weights": "each is a field of the record that is written, given by name",
    "render_head": "face, camera, texture and picture; what is optional is given by name",
    "open": "the public door to identification: every choice has its name and its default",
    "_at_size": "the table of searches and what is asked of it",
    "_rank": "columns of one probe's scores, which the fast path and its twin both have at hand",
    "turned_face": "the parts of a face that was lifted once and is rendered several times",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]


def too_long(source: str) -> set[str]:
    """Functions of `source` with more lines than a function may have, signature and docstring included."""
    return {one.name for one in functions(source) if (one.end_lineno or 0) - one.lineno + 1 > MOST_LINES["function"]}


def too_many_parameters(source: str) -> set[str]:
    """Functions of `source` that take too many; a command of the command line has as many as it has options."""
    found = set()
    for one in functions(source):
        if any("command" in ast.unparse(decorator).split("(")[0] for decorator in one.decorator_list):
            continue
        given = [*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs]
        if len([argument for argument in given if argument.arg not in ("self", "cls")]) > MOST_PARAMETERS:
            found.add(one.name)
    return found


def test_modules_and_functions_stay_short_enough_to_read() -> None:
    files = [path for folder in (*LAYERS, "facerec", "benchmarks") for path in sources(folder)]
    texts = {from_root(path): path.read_text("utf-8") for path in files}
    assert [name for name, text in texts.items() if len(text.splitlines()) > MOST_LINES["module"]] == []
    long = {f"{name}: {one}": one for name, text in texts.items() for one in too_long(text)}
    assert [place for place, one in long.items() if one not in LONG_FUNCTIONS] == []
    many = {f"{name}: {one}": one for name, text in texts.items() for one in too_many_parameters(text)}
    assert [place for place, one in many.items() if one not in MANY_PARAMETERS] == []
    assert set(LONG_FUNCTIONS) == set(long.values())
    assert set(MANY_PARAMETERS) == set(many.values())


def test_a_long_function_and_one_with_many_parameters_would_be_seen() -> None:
    body = "".join(f"    x = {n}\n" for n in range(80))
    assert too_long(f"def f():\n{body}") == {"f"}
    assert not too_long(f"def f():\n{body[:-10]}")
    assert too_many_parameters("def f(a, b, c, d, *, e, f, g, h): ...") == {"f"}
    assert not too_many_parameters("class A:\n    def f(self, a, b, c, d, e, f, g): ...")
    assert not too_many_parameters("@click.command('x')\ndef f(a, b, c, d, e, f, g, h): ...")


def import_graph(files: dict[str, str]) -> dict[str, set[str]]:
    """Which module imports which, of sources by module name; those inside functions and for types alone count too."""

    def module(name: str) -> str | None:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name or None

    return {name: {found for found in map(module, imported(source)) if found} for name, source in files.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that reach themselves: what is left when those that import nothing of the rest are taken away."""
    left = dict(graph)
    while free := [name for name in left if not left[name] & left.keys()]:
        for name in free:
            del left[name]
    # From the other end too, so that modules that only stand before a circle are not named.
    while idle := [name for name in left if not any(name in left[other] for other in left)]:
        for name in idle:
            del left[name]
    return sorted(left)


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = {module_name(path): path.read_text("utf-8") for layer in LAYERS for path in sources(layer)}
    graph = import_graph(files)
    assert "facerec.recognition.search" in graph["facerec.recognition.shortlist"]
    assert circles(graph) == []


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """The modules that `start` imports, and those that they import."""
    found, left = set[str](), [start]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


def test_a_store_of_galleries_needs_no_models() -> None:
    files = {module_name(path): path.read_text("utf-8") for layer in LAYERS for path in sources(layer)}
    graph = import_graph(files)
    stores = [name for name in graph if name.startswith("facerec.recognition.store.")]
    assert "facerec.recognition.store.sqlite" in stores
    models = {f"facerec.recognition.{name}" for name in ("recognizer", "description", "enrolment", "identification")}
    assert {name: reached(graph, name) & models for name in stores if reached(graph, name) & models} == {}
    assert models - {"facerec.recognition.identification"} <= reached(graph, "facerec.recognition.enrolment") | {
        "facerec.recognition.enrolment"
    }


@pytest.mark.parametrize(
    "hidden",
    [
        "from facerec.a.one import f",
        "def g():\n    from facerec.a import one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import facerec.a.one",
    ],
)
def test_a_circle_would_be_seen(hidden: str) -> None:
    chain = {"facerec.a.one": "from facerec.a.two import g", "facerec.a.two": "from facerec.b import h"}
    before = chain | {"facerec.a": "", "facerec.b": "import math", "facerec.c": "import facerec.a.one"}
    assert circles(import_graph(before)) == []
    assert circles(import_graph(before | {"facerec.b": hidden})) == ["facerec.a.one", "facerec.a.two", "facerec.b"]


def test_the_tests_mirror_the_folders() -> None:
    folders = {path.parent for layer in LAYERS for path in (ROOT / "tests" / layer).rglob("test_*.py")}
    assert {ROOT / "tests" / layer for layer in LAYERS} <= folders
    for folder in folders:
        assert (ROOT / folder.relative_to(ROOT / "tests") / "__init__.py").is_file(), f"{folder} mirrors no package"


def packages_on_disk() -> dict[str, str]:
    folders = {path.parent for layer in LAYERS for path in sources(layer) if path.name == "__init__.py"}
    named = {f"facerec.{path.relative_to(ROOT).as_posix().replace('/', '.')}": str(path) for path in folders}
    return {"facerec": str(ROOT / "facerec")} | named


def test_every_folder_of_sources_is_a_package_and_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert sorted(settings["packages"]) == sorted(packages_on_disk())
    assert {name: str(ROOT / folder) for name, folder in settings["package-dir"].items()} == packages_on_disk()
    for layer in LAYERS:
        for path in sources(layer):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


def test_every_layer_says_that_it_is_typed() -> None:
    # One marker serves the packages below it, too.
    assert {"facerec/py.typed"} | {f"facerec/{layer}/py.typed" for layer in LAYERS} <= shipped_files()


def shipped_files() -> set[str]:
    """Every file that an installed facerec needs, as it is named in a wheel."""
    endings = (".py", ".typed", ".json", ".j2", ".html", ".css", ".js", ".svg", *WEIGHT_ENDINGS)
    return {"facerec/__init__.py", "facerec/py.typed"} | {
        f"facerec/{path.relative_to(ROOT).as_posix()}"
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*")
        if path.is_file() and path.suffix in endings and "__pycache__" not in path.parts
    }


def test_the_public_package_holds_the_public_names_alone() -> None:
    assert [path.name for path in sources("facerec")] == ["__init__.py"]


def test_the_wheel_holds_every_module_template_and_weight(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert shipped_files() - names == set()
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}


def test_every_weight_file_is_recorded_whole_small_and_says_what_it_may_be_used_for() -> None:
    total = 0
    for layer in ("landmarks", "frontalize", "recognition"):
        folder = ROOT / layer / "weights"
        records = folder / "weights.json"
        listed = json.loads(records.read_text("utf-8"))["weights"] if records.is_file() else []
        on_disk = {path.name for path in folder.iterdir() if path.suffix in WEIGHT_ENDINGS and path.name[0] != "."}
        assert {entry["file"] for entry in listed} == on_disk, layer
        for entry in listed:
            data = (folder / entry["file"]).read_bytes()
            total += len(data)
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"]), entry["name"]
            assert len(data) < 16 * 2**20, entry["name"]
            for field in ("what", "split", "licence", "command", "training_sets", "metric"):
                assert entry[field], f"{entry['name']} does not state its {field}"
            people = " ".join(entry["training_sets"]).lower()
            if any(name in people for name in ("cfp", "frontal-profile", "lfw", "labeled faces", "youtube", "ytf")):
                assert "research" in entry["licence"].lower(), f"{entry['name']} was trained on research pictures"
    assert total < 64_000_000


def repository_files() -> list[Path]:
    """Tracked files and those about to be: everything git does not ignore."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


# Written so that the pattern does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.~*)}\"'/-])/(?:root|home|work|opt|mnt|Users|tmp|var)/[\w.]")
URL_HOST = re.compile(r"https?://([\w.-]+)")
KNOWN_HOSTS = {"www.apache.org", "www.w3.org"}
# This machine itself, and names that stand for a server of the reader's own.
KNOWN_HOSTS |= {"127.0.0.1", "HOST", "milvus", "evil.example"}
UNSAFE = re.compile(r"allow_pickle\s*=\s*Tru[e]|\btorch\.loa[d]\((?![^)]*weights_only=True)|\bpickle\.load[s]?\(")


def test_no_file_names_a_path_of_one_machine_an_unknown_host_or_an_unsafe_reader() -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for pattern in (MACHINE_PATH, UNSAFE):
            found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
        found += [f"{path.relative_to(ROOT)}: {host}" for host in URL_HOST.findall(text) if host not in KNOWN_HOSTS]
    assert found == []


def test_the_repository_holds_no_pictures_but_those_of_its_documentation_and_no_packed_data() -> None:
    endings = {
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".bmp",
        ".pts",
        ".csv",
        ".pkl",
        ".pt",
        ".pth",
        ".onnx",
    }
    for path in repository_files():
        name = path.relative_to(ROOT)
        if name.parts[0] not in ("docs", "benchmarks"):
            assert path.suffix.lower() not in endings, name
        if path.suffix in WEIGHT_ENDINGS:
            assert name.parts[1:-1] == ("weights",), name
        assert path.stat().st_size < 16 * 2**20, name


# Words that are not the field's, each written so that the pattern does not match itself, and what to write instead.
NOT_PLAIN = {
    r"\btaugh[t]\b": "trained",
    r"\bhel[d][ -]back\b": "held out",
    r"\bane[w]\b": "again",
    r"\bmen[d](s|ed)?\b": "correct",
    r"\b(is|are|was|were) tol[d]\b": "is reported, gets an error",
    r"\b1 (?:photos|faces|entries|people|persons|pictures|items|pairs)\b(?! /)": "the singular",
    r"\b(?:one|a (?:row|line|mark|object|byte)) a (?:cor[e]|face|photograph|picture|probe|group|system|track)\b": "per",
    r"\b(?:ms|MB|KB|seconds|frames|pictures|numbers|texels|px|levels|boxes) a (?:second|core|face|photograph|picture"
    r"|probe|cell|side|stage|person)\b(?! is| of| has| that)": "per",
    r"\b(?:rows|tokens|requests) a (?:probe|minute|call)\b": "per",
}


def not_plain(text: str) -> list[str]:
    """What of `text` is not plain English, each with what to write instead."""
    return [f"{match.group()} -> {instead}" for find, instead in NOT_PLAIN.items() for match in re.finditer(find, text)]


def test_prose_uses_the_fields_words() -> None:
    texts = [path for path in repository_files() if path.suffix in (".py", ".md", ".html", ".j2", ".js", ".yml")]
    found = {from_root(path): not_plain(path.read_text("utf-8")) for path in texts if path.name != Path(__file__).name}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    "text", ["the network was taugh" + "t", "rows a probe", "1 photos", "one a core", "9 ms a face", "64 px a side"]
)
def test_words_that_are_not_plain_would_be_seen(text: str) -> None:
    assert not_plain(text)
    assert not not_plain(
        "1 photo, 1 people / strangers, 9 ms per face, a point of a face, one at a time, 20 px a person has"
    )


def _broken_commands(page: str) -> list[str]:
    """Lines of the `sh` blocks of a page that do not hold one command each."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, flags=re.S) for line in block.splitlines() if line]
    return [
        line
        for line in lines
        if not re.match(r"(facerec|pip|python|scripts/\w+|torchrun)\b", line) or " facerec " in line.partition("#")[0]
    ]


def test_a_command_in_the_readme_keeps_its_line() -> None:
    assert _broken_commands((ROOT / "README.md").read_text(encoding="utf-8")) == []
    joined = "```sh\nfacerec train box DATA facerec train godp\nmoves boxes\n```"
    assert len(_broken_commands(joined)) == 2


def test_no_line_of_prose_is_longer_than_120_characters() -> None:
    long = []
    for path in repository_files():
        if path.suffix != ".md":
            continue
        lines, fenced = path.read_text("utf-8").splitlines(), False
        for number, line in enumerate(lines, 1):
            fenced ^= line.startswith("```")
            if not fenced and len(line) > 120 and not line.startswith(("|", "    ")):
                long.append(f"{from_root(path)}:{number}")
    assert long == []
