"""From a recipe and pictures to a bundle: the loop, its checkpoints, what is written of it."""
