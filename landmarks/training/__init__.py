"""What no photograph ever meets at run time: who is held out, packs, scenes, losses, solvers and trainers."""
