"""Films: faces are tracked from frame to frame, with one template and one decision per track."""
