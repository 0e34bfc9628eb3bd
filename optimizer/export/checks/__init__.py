"""Is it well formed: what an export wrote, held against trimmed schemas of our own and the flags of its engine."""
