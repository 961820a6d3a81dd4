"""Training of the landmark stage: held-out people, packs, scenes, losses, solvers, trainers. Not used at run time."""
