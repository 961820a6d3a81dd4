"""docs/schema.json: what the commands and the service answer has the stated keys, and the two agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facerec.cli.main import run
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition.films import tracks

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schema.json").read_text(encoding="utf-8"))
KINDS = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None), "integer": int}


def faults(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """Where `value` differs from `schema`, as far as docs/schema.json uses the language of JSON schemas."""
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], place)
    if "anyOf" in schema:
        tried = [faults(value, one, place) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{place}: {value!r}"]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not any((kind == "number" and number) or isinstance(value, KINDS.get(kind, ())) for kind in kinds):
        return [f"{place}: expected {kinds}; got {value!r}"]
    found: list[str] = []
    if isinstance(value, dict):
        named, rest = schema.get("properties", {}), schema.get("additionalProperties", False)
        found += [f"{place}.{key} is missing" for key in schema.get("required", []) if key not in value]
        for key, item in value.items():
            if key in named or rest:
                found += faults(item, named.get(key, rest), f"{place}.{key}")
            else:
                found.append(f"{place}.{key} is not in the schema")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            found += faults(item, schema["items"], f"{place}[{i}]")
    return found


def holds(values: list[Any], name: str) -> list[Any]:
    assert values
    for value in values:
        assert faults(value, {"$ref": f"#/$defs/{name}"}) == []
    return values


@pytest.fixture
def said(
    pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., list[Any]]:
    """What a command writes to stdout, as JSON values."""
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    monkeypatch.chdir(tmp_path)
    for person in range(1, 5):
        for picture in range(2):
            pretend.paint(Path("people") / f"p{person}" / f"{picture}.png", (person, 4 + picture, picture))
    pretend.paint(Path("group.png"), (1, 7, 7), (9, 6, 1), (255, 6, 1))
    pretend.paint(Path("nobody.png"))
    assert run(["enroll", "people", "-g", "staff", "-q"]) == 0

    def command(*arguments: str) -> list[Any]:
        capfd.readouterr()
        run([*arguments, "-q"] if arguments[0] != "gallery" or arguments[1] == "export" else list(arguments))
        text = capfd.readouterr().out
        return [json.loads(text)] if text.startswith("{\n") else [json.loads(line) for line in text.splitlines()]

    return command


def test_the_commands_answers_match_the_schema(said: Callable[..., list[Any]]) -> None:
    holds(said("identify", "group.png", "nobody.png", "-g", "staff", "--json"), "identified_face")
    holds(said("verify", "group.png", "people/p1/0.png", "--json"), "pair")
    holds(said("verify", "group.png", "nobody.png", "--json"), "pair")
    holds(said("gallery", "list", "-g", "staff", "--json"), "person")
    holds(said("gallery", "list", "-g", "staff", "--entries", "--json"), "entry")
    holds(said("gallery", "export", "-g", "staff"), "entry")


def test_the_answers_about_films_match_the_schema(
    said: Callable[..., list[Any]], pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "face_picture", lambda image, box: b"")  # the pretended pictures are too small for it
    for number in range(3):
        pretend.paint(Path("burst") / f"{number}.png", (1, 6, number), (9, 6, number))
    *lines, known, unknown = reversed(said("identify", "--film", "burst", "-g", "staff", "--json", "--per-frame"))
    assert [line["decision"] for line in holds([unknown, known], "track")] == ["match", "unknown"]
    assert len(holds(lines, "film_face")) == 6


def test_the_service_answers_what_the_commands_answer(said: Callable[..., list[Any]], pretend: ModuleType) -> None:
    pytest.importorskip("fastapi", reason="needs facerec[serve]")
    from facerec.cli.service.verbs import Service

    service = Service(pretend.PretendRecognizer(), "staff")
    try:
        for name in ("group.png", "nobody.png"):
            _, probes, versions = service.identify(Path(name).read_bytes(), name, 5)
            faces = json.loads(json.dumps([probe.as_json(versions) for probe in probes]))
            assert holds(faces, "identified_face") == said("identify", name, "-g", "staff", "--json")
        photos = [(name, Path(name).read_bytes()) for name in ("group.png", "people/p1/0.png")]
        assert holds([service.verify(*photos)], "pair") == said("verify", *(name for name, _ in photos), "--json")
        assert holds(service.people()["people"], "person") == said("gallery", "list", "-g", "staff", "--json")
        holds(service.landmarks(photos[0][1], photos[0][0])["faces"], "located_face")
    finally:
        service.close()


def test_a_value_outside_the_schema_is_detected() -> None:
    person = {"person": "a", "photos": 1, "entries": 1, "yaw": [0, 1], "visible_fraction": 0.5, "nobody": False}
    assert faults(person, {"$ref": "#/$defs/person"}) == []
    assert faults(person | {"age": 3}, {"$ref": "#/$defs/person"}) == ["$.age is not in the schema"]
    assert faults(person | {"photos": "1"}, {"$ref": "#/$defs/person"})
    del person["yaw"]
    assert faults(person, {"$ref": "#/$defs/person"}) == ["$.yaw is missing"]
