"""Detection of faces and their landmarks: photograph -> box -> 68 landmarks with visibility."""
