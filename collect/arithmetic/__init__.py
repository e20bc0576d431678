"""Arithmetic: float64 compiled strictly, the same bits on every processor.

Nothing here calls the C library's or NumPy's transcendental functions, whose results depend on the processor's
vector extension.
"""
