"""Who is compared with whom: official protocols and the user's own, read from disk and checked."""
