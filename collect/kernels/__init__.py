"""Kernels: traffic flown by compiled loops in float64, the same bits on every processor.

Nothing here calls the C library's or NumPy's transcendental functions, whose last bits depend on the processor's
vector extension. State and actions are rounded to float32 after each step, so what is stored is exactly what was flown.
"""
