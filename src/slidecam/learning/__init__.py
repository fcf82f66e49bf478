"""Training and measuring classifiers: pictures on disk in, a bundle and honest figures out."""
