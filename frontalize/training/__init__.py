"""What no photograph ever meets at run time: what learns the models of the face, and sets made by rendering."""
