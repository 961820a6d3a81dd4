"""The way from a photograph to a box: detectors, the verifier, the box regressor and what a box means."""
