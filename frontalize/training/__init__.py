"""Training of the face models, and training sets made by rendering. Not used at run time."""
