"""One real transfer, end to end: MNIST digits to digits of another origin, over HTTP."""
