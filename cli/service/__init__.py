"""The HTTP service behind `facerec serve`: verbs, application, gate, metrics and the page."""
