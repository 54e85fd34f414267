"""The parts of `benchmarks/transfer.py`: data, contenders, one measurement, figures, the document."""
