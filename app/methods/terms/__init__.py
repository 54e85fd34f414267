"""Terms beside the loss on labels."""
