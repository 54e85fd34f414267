"""The memory that a network may take to be served."""


def too_large(image_bytes: int, most: int) -> str:
    return f"One image takes {image_bytes:,} bytes of memory in this network; all predictions are given {most:,}."
