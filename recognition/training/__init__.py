"""What no photograph ever meets at run time: sets of textures and views, and what learns descriptors from them."""
