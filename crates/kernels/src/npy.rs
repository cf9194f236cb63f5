//! NumPy's `.npy` format: read in place, written with its data 64-byte aligned.
