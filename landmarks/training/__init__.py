"""What no photograph ever meets at run time: who is held back, packs, scenes, losses, solvers and trainers."""
