"""How what is kept reaches the disk: whole or not at all, locked, hashed, and where the cache lies."""
