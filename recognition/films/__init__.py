"""Films: faces followed from frame to frame, one template and one decision a track."""
