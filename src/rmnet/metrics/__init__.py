"""How good masks are: region similarity, contour accuracy, and their mean over a video."""

from rmnet.metrics.measures import LabelMap, contour_accuracy, jaccard, mean_jaccard

__all__ = ["LabelMap", "contour_accuracy", "jaccard", "mean_jaccard"]
