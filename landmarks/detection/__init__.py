"""From a photograph to boxes: detectors, the verifier, the box regressor and the box convention."""
