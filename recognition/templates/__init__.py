"""Pages that recognition writes, as templates."""
