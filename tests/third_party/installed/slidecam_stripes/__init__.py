"""What a package of someone else's adds to slidecam: it touches nothing of ours."""
