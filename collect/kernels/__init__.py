"""Kernels: traffic flown by compiled loops, the same bits on every processor.

The same world as the torch one, which stays for gradients, GPUs and policies. State and actions are rounded to
float32 after each step, so what is stored is exactly what was flown.
"""
