"""Pictures to learn from: found, read, parted, held against each other, changed at random."""
