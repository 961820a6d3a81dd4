"""Training of descriptors: sets of textures and views, and trainers. Not used at run time."""
