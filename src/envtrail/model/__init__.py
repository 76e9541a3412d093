"""Plain frozen values in the vocabulary of the field; they know nothing of files, kernels or stores."""
