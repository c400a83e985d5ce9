"""The course's classifiers; as there, the linear ones can be imported from here."""

from fastbp.compat.cs231n.classifiers.linear_classifier import *  # noqa: F403
