"""Nothing learned."""
