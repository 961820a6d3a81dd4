"""The names of data sets in weight records."""

import numpy as np

from facerec.landmarks.training.set_names import research_licence, training_sets


def test_the_licence_names_every_set_of_photographs() -> None:
    sets = training_sets(np.array(["cfp-profile", "turned-cfp-frontal", "lfw-colour", "rendered", "drawn"]))
    assert sets == ["CFP", "LFW", "rendered people", "drawn"]
    assert research_licence(sets[:2]) == "research use only: trained on CFP and LFW"
    every = research_licence(["CFP", "YouTube Faces", "LFW"])
    assert every == "research use only: trained on CFP, YouTube Faces and LFW"
    assert research_licence(["CFP"]) == "research use only: trained on CFP"
