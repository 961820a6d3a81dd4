"""Learning what recognises faces: nothing here meets a photograph at run time."""
