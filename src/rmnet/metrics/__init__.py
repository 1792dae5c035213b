"""Quality of masks: region similarity J, contour accuracy F, and mean J over a video."""

from rmnet.metrics.measures import LabelMap, contour_accuracy, jaccard, mean_jaccard

__all__ = ["LabelMap", "contour_accuracy", "jaccard", "mean_jaccard"]
