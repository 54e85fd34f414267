"""The resource nouns: what `Client` and `AsyncClient` offer, a file each."""
