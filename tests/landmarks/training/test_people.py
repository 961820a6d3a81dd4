from pathlib import Path

from facerec.landmarks.sets.ytf import person_of_frame
from facerec.landmarks.training.people import held_out_people, person_key, training_people


def test_names_are_compared_without_case_accents_and_underscores() -> None:
    assert person_key("José_Serra") == person_key("Jose Serra") == "jose serra"
    assert person_key("Abdel-Aziz Al Hakim") == person_key("abdel_aziz_al-hakim")
    assert person_of_frame(Path("a/Abdel_Aziz_Al-Hakim_01.jpg")) == "Abdel_Aziz_Al-Hakim"


def test_held_out_people_are_every_seventh_and_the_two_folds(tmp_path: Path) -> None:
    names = [f"Person_{chr(97 + i)}" for i in range(9)]
    frames = tmp_path / "ytf" / "frames" / "training"
    frames.mkdir(parents=True)
    for name in names:
        (frames / f"{name}_00.jpg").touch()
    tree = tmp_path / "cfp"
    (tree / "Data").mkdir(parents=True)
    (tree / "Data" / "list_name.txt").write_text("\n".join(f"Star {i}" for i in range(1, 401)))
    held_out = held_out_people(tmp_path / "ytf", tree)
    assert {"person a", "person h", "star 301", "star 400"} <= held_out
    assert len(held_out) == 102


def test_a_namesake_is_held_out_however_its_name_is_spelt(tmp_path: Path) -> None:
    """The detector compared names by their plain letters, by which José and Jose were two people."""
    frames = tmp_path / "ytf" / "frames" / "test"
    frames.mkdir(parents=True)
    (frames / "Jose_Serra_00.jpg").touch()  # the first of every seven is held out
    (frames / "Zoe_Z_00.jpg").touch()
    tree = tmp_path / "cfp"
    (tree / "Data").mkdir(parents=True)
    names = ["José Serra", "Zoe Z", *(f"Star {i}" for i in range(3, 401))]
    (tree / "Data" / "list_name.txt").write_text("\n".join(names), encoding="utf-8")
    assert training_people(tmp_path / "ytf", tree) == list(range(2, 301))
