"""What a person says of a slide, and a classifier that learns it."""
