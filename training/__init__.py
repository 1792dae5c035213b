"""How the weights of rmnet are trained. Commands: `python -m training.train --help`."""
