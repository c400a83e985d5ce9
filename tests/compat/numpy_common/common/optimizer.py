from fastbp.benchmark._peers._numpy_dlfs_training import *
